/* What the processes tell each other, and the sending of it: one record is one packet of a
 * SOCK_SEQPACKET socket pair, so a record arrives whole or, if its sender was killed, not at all. File
 * bytes never travel here, only where they are. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <buddyclient.h>

#include "report.h"

#define RECORD_PATH_MAX 4096 /* with the closing zero */
#define SHA256_BYTES    32

/* Reader to worker: the next piece of a file. All pieces of a file go to one worker, in order, and no
 * other file's in between. The first one is followed by the path. */
struct piece_record {
        uint64_t file;                  /* number of the file, never used twice */
        uint64_t reading;               /* which reading of the file from its start this is */
        struct buddyclient_range range; /* where the bytes are; the worker's from now on */
        uint64_t bytes;                 /* how many of them; 0: range means nothing */
        bool first;
        bool last;
        bool dropped; /* with last: reading failed half-way, there is no result */
};

/* Worker to reader, before all else: whom to give ranges to. */
struct arrival_record {
        uint32_t peer;
};

/* Worker to writer: a piece is done. With the last one comes what it is all for, followed by the path. */
struct result_record {
        unsigned slot;
        bool worker_ended; /* from the supervisor: the slot's worker sends no more; the rest means nothing */
        uint64_t file;
        uint64_t reading;
        struct buddyclient_range range; /* the writer's from now on; length 0: there is none */
        bool last;
        uint64_t bytes; /* so far */
        uint64_t compressed_bytes;
        uint8_t sha256[SHA256_BYTES];
        bool dropped; /* nothing for the table: answer only */
};

/* Writer to supervisor: the slot's worker may be started, and gives its ranges to this peer. */
struct inlet_record {
        unsigned slot;
        uint32_t peer;
};

/* Writer to reader: a piece is not needed any more; with the last one, the table has the file. */
struct settled_record {
        uint64_t file;
        uint64_t reading;
        bool last;
        uint64_t bytes;
        uint64_t compressed_bytes;
        bool dropped;
};

/* Between supervisor and reader. */
enum control_kind {
        CONTROL_WORKER, /* to the reader, with a descriptor: this slot has a new worker */
        CONTROL_DRILL,  /* to the supervisor: kill the worker of this slot */
        CONTROL_REPORT, /* to the supervisor: all is done */
};

struct control_record {
        enum control_kind kind;
        unsigned slot;
        struct report report;
};

/* A connected pair, close-on-exec. 0 or -errno. */
int record_pair(int fds[2]);

/* Sends head, followed by the path unless that is NULL, as one record. 0 or -errno; with wait false -EAGAIN if the
 * other side has no room. */
int record_send(int fd, const void *head, size_t head_bytes, const char *path, bool wait);

/* Takes one record. Returns its length; 0: the other side is gone; -EAGAIN: none is there and wait is false;
 * -EMSGSIZE: it was longer than size. */
ssize_t record_receive(int fd, void *record, size_t size, bool wait);

/* As the two above, with a descriptor beside it. A received descriptor is the caller's; -1: there was none. */
int record_send_fd(int fd, const void *head, size_t head_bytes, int passed);
ssize_t record_receive_fd(int fd, void *record, size_t size, int *passed);
