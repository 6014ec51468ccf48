/* See hostile_daemon.h. */
#include "hostile_daemon.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "fuzz.h"
#include "proto/cache_area.h"
#include "proto/frame.h"
#include "proto/message.h"

#define PAGES       256u
#define SESSION     7u
#define PIECE_MAX   300u
#define DESCRIPTORS 12u

static int listen_fd, stop_fd, segment_fd, pulse_fd, other_fd;
static char path[64];
static pthread_t thread;
static struct tape tape;
static struct arena arena;
static bool held[PAGES];
static unsigned order_held[PAGES];

/* ---- What it has ---- */

static int memory(const char *name, uint64_t bytes) {
        int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
        fuzz_require(fd >= 0 && ftruncate(fd, (off_t)bytes) == 0);
        return fd;
}

static int pulse_make(void) {
        struct cache_pulse pulse = {.owner = 1};
        int fd = memory("pulse", sizeof(pulse));
        fuzz_require(pwrite(fd, &pulse, sizeof(pulse), 0) == sizeof(pulse));
        fuzz_require(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0);
        return fd;
}

/* The client connects to the file through a descriptor of ours, so nothing is left when this process dies. */
static void listen_nowhere(void) {
        char folder[] = "/tmp/buddyd-fuzz-XXXXXX";
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        fuzz_require(listen_fd >= 0 && mkdtemp(folder));
        snprintf(address.sun_path, sizeof(address.sun_path), "%s/socket", folder);
        fuzz_require(bind(listen_fd, (struct sockaddr *)&address, sizeof(address)) == 0);
        fuzz_require(listen(listen_fd, 16) == 0);
        int file = open(address.sun_path, O_PATH | O_CLOEXEC);
        fuzz_require(file >= 0);
        unlink(address.sun_path);
        rmdir(folder);
        snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
}

const char *hostile_daemon_path(void) {
        if (path[0])
                return path;
        listen_nowhere();
        stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        segment_fd = memory("segment", HOSTILE_POOL_BYTES);
        pulse_fd = pulse_make();
        other_fd = memory("other", 0);
        fuzz_require(stop_fd >= 0 && arena_init(&arena, MESSAGE_ARENA_REQUEST) == 0);
        return path;
}

/* ---- What it grants ---- */

static bool is_free(unsigned page, unsigned order) {
        for (unsigned i = 0; i < 1u << order; i++)
                if (held[page + i])
                        return false;
        return true;
}

static bool grant(unsigned order, uint64_t *place) {
        for (unsigned page = 0; order <= 8 && page < PAGES; page += 1u << order) {
                if (!is_free(page, order))
                        continue;
                memset(held + page, true, (size_t)1 << order);
                order_held[page] = order;
                *place = page * UINT64_C(4096) | order;
                return true;
        }
        return false;
}

static void take_back(uint64_t place) {
        uint64_t page = place / 4096;
        if (page < PAGES)
                memset(held + page, false, (size_t)1 << order_held[page]);
}

/* ---- What it answers, when it means well ---- */

static void refuse(struct reply *reply, enum status status) {
        reply->kind = REPLY_REFUSED;
        reply->refused = (struct reply_refused){status, "no, for 1 reason"};
}

static void answer_hello(const struct request *request, struct reply *reply) {
        static const uint8_t token[MESSAGE_TOKEN_BYTES] = {1, 2, 3};
        static const uint32_t descriptors[] = {DESCRIPTOR_SEGMENT};
        reply->kind = REPLY_WELCOME;
        reply->welcome = (struct reply_welcome){
                .version = PROTOCOL_VERSION,
                .session = SESSION,
                .token = token,
                .page_bytes = 4096,
                .size_bytes = HOSTILE_POOL_BYTES,
                .max_size_bytes = HOSTILE_POOL_BYTES,
                .resumed = request->hello.token != NULL,
                .descriptors = descriptors,
                .descriptor_count = 1,
        };
}

static void answer_alloc(const struct request_alloc *alloc, struct reply *reply) {
        static uint64_t places[PAGES];
        static uint32_t generations[PAGES];
        unsigned order = 0;
        size_t count = 0;
        while (order < 20 && UINT64_C(4096) << order < alloc->length)
                order++;
        while (count < alloc->count && count < PAGES && grant(order, &places[count]))
                generations[count++] = 1;
        if (count < alloc->count) {
                while (count > 0)
                        take_back(places[--count]);
                refuse(reply, STATUS_NO_SPACE);
                return;
        }
        reply->kind = REPLY_RANGES;
        reply->ranges = (struct message_ranges){places, generations, count};
}

static void answer_holds(struct reply *reply) {
        static struct reply_hold holds[PAGES];
        size_t count = 0;
        for (unsigned page = 0; page < PAGES; page += held[page] ? 1u << order_held[page] : 1)
                if (held[page])
                        holds[count++] =
                                (struct reply_hold){.range = {page * UINT64_C(4096),
                                                            UINT64_C(4096) << order_held[page], 1},
                                        .session = SESSION,
                                        .key = ""};
        reply->kind = REPLY_HOLDS;
        reply->holds = (struct reply_holds){holds, count, 0};
}

static void answer(const struct request *request, struct reply *reply) {
        *reply = (struct reply){.id = request->id, .kind = REPLY_DONE};
        switch (request->kind) {
        case REQUEST_HELLO:
                answer_hello(request, reply);
                break;
        case REQUEST_ALLOC:
                answer_alloc(&request->alloc, reply);
                break;
        case REQUEST_RELEASE:
                for (size_t i = 0; i < request->release.ranges.count; i++)
                        take_back(request->release.ranges.places[i]);
                if (request->release.one_way)
                        reply->kind = REPLY_NONE;
                break;
        case REQUEST_UNCACHE:
                reply->kind = REPLY_NONE;
                break;
        case REQUEST_LOOKUP:
                reply->kind = REPLY_RANGE;
                reply->range = (struct message_range){0, 4096, 1};
                break;
        case REQUEST_FIND:
                reply->kind = REPLY_PEER;
                reply->peer = 9;
                break;
        case REQUEST_STATS:
                reply->kind = REPLY_STATS;
                reply->stats = (struct reply_stats){.pool = "default",
                        .backing = "memfd",
                        .page_bytes = 4096,
                        .size_bytes = HOSTILE_POOL_BYTES,
                        .free_bytes = HOSTILE_POOL_BYTES};
                break;
        case REQUEST_HOLDS:
                answer_holds(reply);
                break;
        default:
                break;
        }
}

/* ---- How it says it ---- */

static void send_with(int fd, const uint8_t *bytes, size_t length, const int *fds, size_t count) {
        union {
                struct cmsghdr align;
                char bytes[CMSG_SPACE(sizeof(int) * DESCRIPTORS)];
        } control = {0};
        struct iovec piece = {(void *)(uintptr_t)bytes, length};
        struct msghdr header = {.msg_iov = &piece, .msg_iovlen = 1};
        if (count > 0) {
                header.msg_control = control.bytes;
                header.msg_controllen = CMSG_SPACE(sizeof(int) * count);
                struct cmsghdr *one = CMSG_FIRSTHDR(&header);
                one->cmsg_level = SOL_SOCKET;
                one->cmsg_type = SCM_RIGHTS;
                one->cmsg_len = CMSG_LEN(sizeof(int) * count);
                memcpy(CMSG_DATA(one), fds, sizeof(int) * count);
        }
        if (length > 0 && sendmsg(fd, &header, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
                return;
}

/* Those that belong to a reply, or others. */
static size_t descriptors_of(const struct request *request, unsigned how, int fds[DESCRIPTORS]) {
        size_t count = request->kind == REQUEST_HELLO || request->kind == REQUEST_CACHE;
        fds[0] = request->kind == REQUEST_CACHE ? pulse_fd : segment_fd;
        if (how != 14)
                return count;
        static const size_t counts[] = {0, 1, 1, 2, 8, 9, 1, DESCRIPTORS};
        const int choice[] = {segment_fd, other_fd, stop_fd, pulse_fd};
        unsigned which = tape_byte(&tape);
        count = counts[which % 8];
        for (size_t i = 0; i < count; i++)
                fds[i] = choice[(which / 8 + i) % 4];
        return count;
}

static void say(int fd, const struct request *request, const struct reply *reply, unsigned how) {
        static uint8_t frame[FRAME_HEADER_BYTES + FRAME_REPLY_MAX];
        int fds[DESCRIPTORS];
        if (reply->kind == REPLY_NONE)
                return;
        ptrdiff_t encoded = reply_encode(reply, frame, sizeof(frame));
        if (encoded <= 0)
                return;
        size_t length = (size_t)encoded, count = descriptors_of(request, how, fds);
        for (unsigned bends = how == 6 ? 1u + tape_byte(&tape) % 3 : 0; bends > 0; bends--)
                frame[tape_number(&tape, 2) % length] ^= tape_byte(&tape);
        size_t first = how == 15 ? tape_byte(&tape) % length : 0;
        send_with(fd, frame, first, NULL, 0);
        send_with(fd, frame + first, length - first, fds, count);
        if (how == 13)
                send_with(fd, frame, length, NULL, 0);
}

static void say_piece(int fd, uint64_t id, bool framed) {
        uint8_t frame[FRAME_HEADER_BYTES + 16 + PIECE_MAX];
        size_t length;
        const uint8_t *piece = tape_piece(&tape, tape_byte(&tape), &length);
        if (!framed) {
                send_with(fd, piece, length, NULL, 0);
                return;
        }
        /* A reply's first field is its id. */
        uint8_t *at = frame + FRAME_HEADER_BYTES;
        *at++ = 0x08;
        for (; id > 0x7f; id >>= 7)
                *at++ = (uint8_t)(id | 0x80);
        *at++ = (uint8_t)id;
        memcpy(at, piece, length);
        size_t bytes = (size_t)(at - frame) + length;
        frame_header(frame, bytes - FRAME_HEADER_BYTES);
        send_with(fd, frame, bytes, NULL, 0);
}

/* The same kind of reply with other figures than are true. */
static void lie(struct reply *reply) {
        static uint64_t places[4];
        static uint32_t generations[4];
        size_t count = tape_byte(&tape) % 5;
        for (size_t i = 0; i < count; i++) {
                places[i] = tape_number(&tape, 3) << 12 | tape_byte(&tape) % 64;
                generations[i] = tape_byte(&tape);
        }
        switch (tape_byte(&tape) % 8) {
        case 0:
                reply->kind = REPLY_RANGES;
                reply->ranges = (struct message_ranges){places, generations, count};
                break;
        case 1:
                reply->kind = REPLY_RANGE;
                reply->range = (struct message_range){
                        tape_number(&tape, 8), tape_number(&tape, 8), tape_number(&tape, 8)};
                break;
        case 2:
                reply->kind = REPLY_PEER;
                reply->peer = (uint32_t)tape_number(&tape, 4);
                break;
        case 3:
                reply->id = tape_number(&tape, 2);
                break;
        case 4:
                if (reply->kind != REPLY_WELCOME)
                        break;
                reply->welcome.done = (struct message_done){tape_number(&tape, 2), tape_byte(&tape),
                        places[0], generations[0], tape_byte(&tape)};
                reply->welcome.granted_ranges = tape_byte(&tape);
                reply->welcome.resumed = tape_byte(&tape) & 1;
                reply->welcome.session = SESSION + tape_byte(&tape) % 2;
                break;
        case 5:
                if (reply->kind != REPLY_WELCOME)
                        break;
                reply->welcome.page_bytes = UINT64_C(1) << tape_byte(&tape) % 64;
                reply->welcome.size_bytes = tape_number(&tape, 8);
                reply->welcome.max_size_bytes = tape_number(&tape, 8);
                break;
        case 6:
                if (reply->kind == REPLY_HOLDS)
                        reply->holds.next_cursor = tape_byte(&tape);
                break;
        default:
                refuse(reply, (enum status)(tape_byte(&tape) % 14));
        }
}

/* ---- Playing ---- */

/* False: the connection is over. */
static bool serve(int fd, const struct request *request) {
        struct reply reply;
        answer(request, &reply);
        unsigned how = tape_byte(&tape) % 17;
        switch (how) {
        case 7:
                say_piece(fd, request->id, true);
                return true;
        case 8:
                say_piece(fd, request->id, false);
                return true;
        case 9:
        case 10:
                lie(&reply);
                break;
        case 11: /* says nothing */
                return tape_byte(&tape) % 4 != 0;
        case 12: /* done, and gone */
                return false;
        case 16: /* said, and gone */
                say(fd, request, &reply, how);
                return false;
        default:
                break;
        }
        say(fd, request, &reply, how);
        return true;
}

/* False: it is to end. */
static bool await(int fd) {
        struct pollfd both[] = {{.fd = fd, .events = POLLIN}, {.fd = stop_fd, .events = POLLIN}};
        while (poll(both, 2, -1) < 0)
                ;
        return both[0].revents != 0;
}

static bool serve_whole(int fd, uint8_t *in, size_t *in_bytes) {
        const uint8_t *message;
        size_t length, wanted;
        struct request request;
        while (frame_next(in, *in_bytes, FRAME_REQUEST_MAX, &message, &length, &wanted) == 1) {
                arena_reset(&arena);
                fuzz_require(request_decode(&arena, message, length, &request) == 0);
                if (!serve(fd, &request))
                        return false;
                *in_bytes -= FRAME_HEADER_BYTES + length;
                memmove(in, in + FRAME_HEADER_BYTES + length, *in_bytes);
        }
        return true;
}

static void serve_connection(int fd) {
        static uint8_t in[FRAME_HEADER_BYTES + FRAME_REQUEST_MAX];
        size_t in_bytes = 0;
        do {
                ssize_t length = recv(fd, in + in_bytes, sizeof(in) - in_bytes, MSG_DONTWAIT);
                if (length == 0)
                        return;
                if (length > 0)
                        in_bytes += (size_t)length;
        } while (serve_whole(fd, in, &in_bytes) && await(fd));
}

static void *play(void *context) {
        while (await(listen_fd)) {
                int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);
                if (fd < 0)
                        continue;
                serve_connection(fd);
                close(fd);
        }
        return context;
}

void hostile_daemon_begin(struct tape with) {
        tape = with;
        memset(held, 0, sizeof(held));
        fuzz_require(pthread_create(&thread, NULL, play, NULL) == 0);
}

void hostile_daemon_end(void) {
        uint64_t one = 1;
        fuzz_require(write(stop_fd, &one, sizeof(one)) == sizeof(one));
        pthread_join(thread, NULL);
        fuzz_require(read(stop_fd, &one, sizeof(one)) == sizeof(one));
        int late; /* connected, and was not served */
        while ((late = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC)) >= 0)
                close(late);
}
