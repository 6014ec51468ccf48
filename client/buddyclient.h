/* libbuddyclient: page ranges from a shared memory pool that buddyd manages.
 *
 * A struct buddyclient is one connection to one pool. Make one, set it up, connect, and ask for
 * ranges; a range is named by its offset from the base of the pool's segment, which every
 * process maps at an address of its own, so a range can be sent to another process as plain
 * data.
 *
 * Calls return 0 or a negative errno unless said otherwise, and write their outputs only on
 * success; a refused call changes nothing. After connect, one struct buddyclient may be used by
 * any number of threads at once; the setters, connect and destroy may not run beside another
 * call on the same one. The library starts no thread, handles no signal, prints nothing and
 * keeps no state outside struct buddyclient but the text of each thread's last refusal. After
 * fork() the child's copy answers -ENOTCONN to every call and the parent's ranges are not
 * touched; base, size and pointer go on working there, and destroy frees the copy and tells the
 * daemon nothing.
 *
 * A daemon that crashes and is started again, or is upgraded in place, loses nothing: the client
 * connects again by itself, inside the calls that were under way and those made meanwhile, with
 * pauses of 1 to 100 ms, for as long as its timeout says. Ranges, pointers, id and keys stay, and
 * each call returns its result once, as if nothing had happened. A call that cannot wait any longer
 * answers -ENOTCONN, and the next one tries again. If the session is gone (the pool was thrown
 * away, or an operator ended it), every call answers -ENOTCONN from then on, and
 * buddyclient_detail says so; the mapping stays valid memory until destroy. What a client holds lasts as long as its
 * process, also when that executes another program: destroy it before.
 *
 *   -EINVAL     a bad argument: zero length, a range never granted, an interior offset
 *   -E2BIG      longer than this pool can ever grant
 *   -ENOMEM     no block that large is free now, or an operator lets the pool run empty (or no memory
 *               in this process)
 *   -ETIMEDOUT  waited, and none came free; nothing is left behind
 *   -EDQUOT     over this client's or this uid's quota
 *   -ESTALE     not held (any more): double free, somebody else's range, an old generation
 *   -EACCES     not admitted to this pool, or to this operation
 *   -ENOENT     no such pool, peer or key
 *   -ENOTCONN   daemon unreachable and not back within the timeout
 *   -EPROTO     the other side does not speak this protocol */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

struct buddyclient;

/* A held range. Plain data: copy it, send it to another process. */
struct buddyclient_range {
        uint64_t offset;     /* bytes from the segment base, a multiple of length */
        uint64_t length;     /* bytes granted: page size << order */
        uint64_t generation; /* which life of this block; a stale range is refused */
};

/* ---- Setting up ---- */

/* Makes a client that is not connected. Destroy it with buddyclient_destroy. -ENOMEM. */
int buddyclient_new(struct buddyclient **out);

/* The daemon's socket; unset: $BUDDYD_SOCKET, else /run/buddyd/buddyd.sock as root, else
 * $XDG_RUNTIME_DIR/buddyd/buddyd.sock. The string is copied. -EINVAL: empty or too long for a
 * socket address; -EBUSY: already connected (so all setters); -ENOMEM. */
int buddyclient_set_socket(struct buddyclient *client, const char *path);

/* The pool; unset: "default". The string is copied. -EINVAL: empty or over 48 characters. */
int buddyclient_set_pool(struct buddyclient *client, const char *pool);

/* A name that operators and peers see; unset: the program's name. The string is copied. -EINVAL:
 * over 63 bytes, or with control characters. */
int buddyclient_set_name(struct buddyclient *client, const char *name);

/* A read-only client maps the segment read-only; it may attach, look up and release, not alloc. */
int buddyclient_set_read_only(struct buddyclient *client, bool read_only);

/* Bytes of returned ranges that may be kept for the next alloc, which then makes no system call: 1 MiB unless set, at most 1/64
 * of the pool; 0 turns the cache off. Ranges that are longer than all that, or than 256 pages, are not kept. What is kept is
 * nobody's: the daemon takes it as soon as somebody needs it. */
int buddyclient_set_cache_bytes(struct buddyclient *client, uint64_t bytes);

/* How long connect and each request may take, and how long the daemon may be away, counted from when
 * that is noticed: milliseconds, 5000 unless set, -1 for no limit, 0 as 1. A request that the daemon
 * does not answer in time ends with -ENOTCONN; what it is granted later goes back by itself.
 * -EINVAL: below -1. */
int buddyclient_set_timeout_ms(struct buddyclient *client, int timeout_ms);

/* Connects, says hello and maps the segment. -ENOTCONN: no daemon answers there; -ENOENT: no
 * such pool; -EACCES: not admitted to the socket or the pool; -EPROTO: it is no daemon of this
 * protocol; -ENOMEM: no memory or address space; -EMFILE, -ENFILE: no descriptor left; -EINVAL:
 * $BUDDYD_SOCKET is too long for a socket address; -EBUSY: already connected. After a failure
 * the client is as it was and may be tried again. */
int buddyclient_connect(struct buddyclient *client);

/* Returns all it holds, unmaps the segment, closes the connection and frees the client; the
 * daemon has the memory back when this returns. A daemon that is away is waited for as by any call; if
 * it does not come back in time, the memory is free when the process has ended. Pointers into the
 * segment end here. NULL is fine. */
void buddyclient_destroy(struct buddyclient *client);

/* ---- The segment ---- */

/* This process's mapping, aligned to 2 MiB; NULL before connect. Valid until destroy. */
void *buddyclient_base(struct buddyclient *client);

/* Bytes of the pool, and of its page; 0 before connect. An operator may let the pool grow: that is known when
 * buddyclient_stats was asked, or the client has connected again. */
uint64_t buddyclient_size(struct buddyclient *client);
uint64_t buddyclient_page_size(struct buddyclient *client);

/* Where a range is in this process, valid until destroy; NULL if it is not inside the segment. */
void *buddyclient_pointer(struct buddyclient *client, const struct buddyclient_range *range);

/* ---- Ranges ---- */

/* Takes a range of at least length bytes: page size << order, the smallest that fits, aligned to
 * its own length from the base. It is held until released. The bytes are whatever was there
 * before. -EINVAL, -E2BIG, -ENOMEM, -EDQUOT, -EACCES (read-only), -ENOTCONN. */
int buddyclient_alloc(struct buddyclient *client, uint64_t length, struct buddyclient_range *out);

/* As buddyclient_alloc, but waits its turn for up to timeout_ms milliseconds (0: not at all; -1:
 * as long as it takes). -ETIMEDOUT: none came free, and the request is withdrawn; -EINVAL also
 * for a timeout below -1. The daemon keeps the time: only if it says nothing for the client's
 * timeout beyond that, or is away for that long, the answer is -ENOTCONN. */
int buddyclient_alloc_wait(
        struct buddyclient *client, uint64_t length, int timeout_ms, struct buddyclient_range *out);

/* Takes count ranges of at least length bytes each, or none. -EINVAL: count is 0 or over 4096. */
int buddyclient_alloc_many(
        struct buddyclient *client, uint64_t length, size_t count, struct buddyclient_range *out);

/* Drops one hold of a range; with the last hold of all clients it becomes free. -EINVAL,
 * -ESTALE; -ENOTCONN: the daemon did not confirm it in time, and the range counts as returned: that
 * is made up for by itself. */
int buddyclient_release(struct buddyclient *client, const struct buddyclient_range *range);

/* Drops one hold of each range, or of none if one is refused. count 0 does nothing. More than
 * 4096 take several requests, and are all compared with what this client holds before the first
 * (where peers gave some of them, by asking the daemon).
 * -EINVAL, -ESTALE, -ENOMEM, -ENOTCONN. */
int buddyclient_release_many(
        struct buddyclient *client, const struct buddyclient_range *ranges, size_t count);

/* ---- Sharing ---- */

/* This client's id, by which peers name it; 0 before connect. */
uint32_t buddyclient_id(struct buddyclient *client);

/* The id of the first live client of a name in this pool. -EINVAL: no name, or over 63 bytes;
 * -ENOENT: nobody there has it; -ENOTCONN. */
int buddyclient_find(struct buddyclient *client, const char *name, uint32_t *peer);

/* Becomes one more holder of a range that somebody holds: release it once more. The range came
 * from its holder, by whatever way. Also for a read-only client. -EINVAL; -ESTALE: nobody holds it
 * (any more); -ENOMEM: no room for the hold; -ENOTCONN. */
int buddyclient_attach(struct buddyclient *client, const struct buddyclient_range *range);

/* Makes one of this client's holds the peer's, who from then on releases it. *range becomes the
 * range as the peer must name it: send that. -EINVAL; -ESTALE: not held by this client; -ENOENT: no
 * such peer; -EACCES (read-only); -ENOTCONN: the daemon did not confirm it, and it is not known
 * whose the hold is. */
int buddyclient_give(struct buddyclient *client, struct buddyclient_range *range, uint32_t peer);

/* The same for 1 to 4096 ranges, all or none. A range may be named as often as it is held. */
int buddyclient_give_many(
        struct buddyclient *client, struct buddyclient_range *ranges, size_t count, uint32_t peer);

/* Puts a held range under a key: 1 to 239 bytes of UTF-8. The key is a holder of its own: the range
 * lives as long as it is there, also without this client. A key that exists is moved to this range
 * at once. -EINVAL; -ESTALE: not held by this client; -EACCES: the key is another user's, or this
 * client is read-only; -ENOMEM: no room for the key; -ENOTCONN. */
int buddyclient_publish(
        struct buddyclient *client, const char *key, const struct buddyclient_range *range);

/* Attaches to what is under a key, and says what that is. Also for a read-only client. -EINVAL;
 * -ENOENT: no such key; -ENOMEM: no room for the hold; -ENOTCONN. */
int buddyclient_lookup(struct buddyclient *client, const char *key, struct buddyclient_range *out);

/* Removes a key and its hold; who looked it up keeps his. -EINVAL; -ENOENT: no such key; -EACCES:
 * another user's, or this client is read-only; -ENOTCONN. */
int buddyclient_unpublish(struct buddyclient *client, const char *key);

/* ---- Without waiting ----
 *
 * For programs with an event loop of their own. A submission asks for what the call of the same name does,
 * and does not wait: it returns 0, or refuses a bad argument at once. Its callback is run exactly once, by buddyclient_dispatch
 * (or by destroy), with what that call would have returned. As many as are wanted may be submitted; they are asked for in
 * this order, and completed in the order in which they are done.
 *
 *     int fd = buddyclient_fd(client);    watch it for reading
 *     on readable: buddyclient_dispatch(client)
 *
 * Nothing here ever waits for the daemon, also not while it is gone. What can be had from the cache is had by the submission
 * itself and told by the next dispatch; buddyclient_alloc and buddyclient_release do the same at once. Any thread may submit, and
 * the calls that wait may be used beside it: they are sent at once, and so may overtake what was submitted before. A client that has
 * nothing under way learns of the end of its session by its next submission or call. In a forked child no callback is run. */

/* What became of a submission. Valid until the callback returns. */
struct buddyclient_completion {
        int result; /* 0, or a negative errno as from the call of that name; buddyclient_detail says why */
        uint32_t peer; /* what was found; else 0 */
        size_t count;  /* entries of ranges; 0 unless result is 0 */
        const struct buddyclient_range
                *ranges; /* granted, attached, looked up, or given: as the peer must name them */
};

/* Runs on the thread that dispatches, without any lock: it may submit, and make calls that wait; it may not dispatch or destroy.
 * Where destroy runs it, all calls but those about the mapping are refused with -ENOTCONN. */
typedef void (*buddyclient_callback)(
        struct buddyclient *client, const struct buddyclient_completion *completion, void *data);

/* A descriptor to be watched for reading (poll, epoll, libuv): readable when there is something to dispatch, be it an answer, a
 * deadline, or the daemon's coming back. The same one from connect to destroy, which closes it; it is the library's, read
 * nothing from it. A negative errno: -ENOTCONN before connect and in a forked child, -EMFILE, -ENFILE, -ENOMEM. */
int buddyclient_fd(struct buddyclient *client);

/* Sends what was submitted, takes what was answered, and runs callbacks. How many it ran. -EBUSY: called from a
 * callback, or another thread is in it; -ENOTCONN: in a forked child, or the session is gone and all callbacks have been run. */
int buddyclient_dispatch(struct buddyclient *client);

/* data is handed to the callback. Keys, names and ranges are copied. The callback may be NULL for release, publish and unpublish. A range
 * that is submitted for release or as a gift is no longer the caller's. What is refused at once (-EINVAL, -ESTALE, -ENOMEM: no memory in
 * this process, -ENOTCONN) has no callback. */
int buddyclient_submit_alloc(
        struct buddyclient *client, uint64_t length, buddyclient_callback callback, void *data);
int buddyclient_submit_alloc_wait(struct buddyclient *client, uint64_t length, int timeout_ms,
        buddyclient_callback callback, void *data);
int buddyclient_submit_alloc_many(struct buddyclient *client, uint64_t length, size_t count,
        buddyclient_callback callback, void *data);
int buddyclient_submit_release(struct buddyclient *client, const struct buddyclient_range *range,
        buddyclient_callback callback, void *data);
/* 1 to 4096 of them, all or none. */
int buddyclient_submit_release_many(struct buddyclient *client,
        const struct buddyclient_range *ranges, size_t count, buddyclient_callback callback,
        void *data);
int buddyclient_submit_attach(struct buddyclient *client, const struct buddyclient_range *range,
        buddyclient_callback callback, void *data);
int buddyclient_submit_give(struct buddyclient *client, const struct buddyclient_range *range,
        uint32_t peer, buddyclient_callback callback, void *data);
int buddyclient_submit_give_many(struct buddyclient *client, const struct buddyclient_range *ranges,
        size_t count, uint32_t peer, buddyclient_callback callback, void *data);
int buddyclient_submit_publish(struct buddyclient *client, const char *key,
        const struct buddyclient_range *range, buddyclient_callback callback, void *data);
int buddyclient_submit_lookup(
        struct buddyclient *client, const char *key, buddyclient_callback callback, void *data);
int buddyclient_submit_unpublish(
        struct buddyclient *client, const char *key, buddyclient_callback callback, void *data);
int buddyclient_submit_find(
        struct buddyclient *client, const char *name, buddyclient_callback callback, void *data);

/* ---- Looking ---- */

struct buddyclient_order {
        uint32_t order;
        uint32_t reserved;
        uint64_t block_bytes;
        uint64_t free_blocks;
        uint64_t held_blocks;
        double unusable_index;      /* Linux's: 0 … 1 */
        double fragmentation_index; /* Linux's: -1, or 0 … 1 */
};

struct buddyclient_latency { /* microseconds in the daemon, since its start */
        double p50, p99, p999, max;
};

/* The pool at a glance. Bytes are bytes, counts are counts, totals count since the daemon's start.
 * held_bytes + cached_bytes + free_bytes == size_bytes. */
struct buddyclient_stats {
        size_t struct_size; /* set by the caller: sizeof(struct buddyclient_stats) */
        char pool[64];
        char backing[16];
        uint64_t page_bytes, size_bytes, capacity_bytes;
        uint64_t held_bytes, cached_bytes, free_bytes, largest_free_bytes, resident_bytes;
        uint64_t clients, waiters, restarts, uptime_seconds;
        uint64_t allocs_total, frees_total, cache_hits_total;
        uint64_t requested_bytes_total, granted_bytes_total;
        uint64_t no_space_total, quota_refusals_total, reclaimed_bytes_total;
        struct buddyclient_latency alloc_us, free_us;
        uint32_t order_count; /* entries of orders that are set */
        uint32_t reserved;
        struct buddyclient_order orders[64];
        uint64_t orphans; /* sessions of an earlier daemon whose clients have not come back yet */
        uint64_t oldest_waiter_ms; /* for how long the one that waits longest has */
};

/* Asks the daemon. A caller built against an older header gets the fields that it knows.
 * -EINVAL: struct_size is smaller than the first version's. */
int buddyclient_stats(struct buddyclient *client, struct buddyclient_stats *out);

/* What an error number of this library means, in words. Never NULL; static. Any thread. */
const char *buddyclient_strerror(int error);

/* The reason behind this thread's last refused call on this client, with figures; empty if there
 * is none. Valid until this thread's next call. */
const char *buddyclient_detail(struct buddyclient *client);

/* The library's version, "major.minor.patch". */
const char *buddyclient_version(void);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
