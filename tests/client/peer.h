/* The other end of a connection, played by a child process that says what a daemon would never
 * say. */
#pragma once

#include <stddef.h>
#include <sys/types.h>

#include "proto/message.h"

struct buddyclient;

/* The timeout of a client that gives up on a peer that is silent. What the peer does answer must come in time, also on a machine that
 * stands still for half a second, as a shared one does. */
#define IMPATIENT_MS 1500

/* Runs in the child, once, on an accepted connection. What is still open when it returns is
 * closed. */
typedef void peer_script(int fd);

struct peer {
        pid_t pid;
        char folder[64];
        char path[96];
};

/* Listens in a folder of its own, and plays the script to everyone who connects, one after the
 * other. */
struct peer peer_start(peer_script *script);

/* Ends the child and removes the folder. */
void peer_stop(struct peer *peer);

/* A client that is connected to it, with this timeout. */
struct buddyclient *peer_connected(const struct peer *peer, int timeout_ms);

/* ---- For scripts ---- */

/* Reads one whole request; ends the child if there is none. Valid until the next call. */
const struct request *peer_read(int fd);

/* The same, also of what a client sends second, which peer_read answers by itself. */
const struct request *peer_read_any(int fd);

/* Sends a reply, with descriptors if there are any. */
void peer_send(int fd, const struct reply *reply, const int *fds, size_t fd_count);

void peer_send_bytes(int fd, const void *bytes, size_t length);

/* A memfd of that many bytes. */
int peer_segment(size_t bytes);

/* Answers what a client sends second, to say that it knows of its session: its cache, which is refused, or a ping. */
void peer_confirm(int fd);

/* The welcome that a daemon with a pool of 1 MiB would send, and that welcome sent, with what comes second. */
struct reply peer_welcome(uint64_t id);
void peer_greet(int fd);

/* Ends the child unless it is so, which peer_stop reports. */
void peer_need(bool condition);

/* Welcomes a session back, with how far its requests came. */
extern struct message_done peer_done;
extern uint64_t peer_granted;
void peer_welcome_back(int fd, uint64_t id);

/* Reads the hello of a client that resumes the session of that welcome, and welcomes it back. */
void peer_expect_hello_again(int fd);

/* Reads the question what the session holds, and answers it. */
void peer_expect_holds(int fd, const struct reply_hold *holds, size_t count);

void peer_send_done(int fd, uint64_t id);

/* One granted range. */
void peer_send_range(int fd, uint64_t id, uint64_t place, uint32_t generation);

/* Reads the client's goodbye, answers it, and waits until it closes. */
void peer_part(int fd);

/* Waits until the other side closes. */
void peer_wait_close(int fd);
