/* See metrics_socket.h. A guest is freed by the close callback of its second handle. */
#include "metrics_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "metrics.h"
#include "serving.h"

#define GUESTS_MAX  64u
#define HEAD_MAX    4096u
#define SILENCE_MS  1000u
#define PATIENCE_MS 5000u /* from then on, for all of it */

enum guest_state {
        GUEST_ASKING,    /* its request is not whole */
        GUEST_WAITING,   /* for the next text */
        GUEST_RENDERING, /* for the one that is being made */
        GUEST_TOLD,
        GUEST_GONE,
};

/* What several guests may be told at a time. */
struct told {
        unsigned guests;
        char *text; /* owned */
        size_t text_bytes;
        char head[160];
};

struct metrics_guest {
        struct link in_guests;
        struct metrics_socket *socket;
        enum guest_state state;
        uv_pipe_t pipe;
        uv_timer_t timer;
        unsigned handles; /* that are open */
        bool by_http;
        char head[HEAD_MAX + 1];
        size_t head_bytes;
        uv_write_t write;
        struct told *told; /* shared; NULL until then */
};

/* ---- Guests ---- */

static void told_leave(struct told *told) {
        if (!told || --told->guests > 0)
                return;
        free(told->text);
        free(told);
}

static void guest_closed(uv_handle_t *handle) {
        struct metrics_guest *guest = handle->data;
        if (--guest->handles > 0)
                return;
        told_leave(guest->told);
        free(guest);
}

static void guest_close(struct metrics_guest *guest) {
        if (guest->state == GUEST_GONE)
                return;
        guest->state = GUEST_GONE;
        link_remove(&guest->in_guests);
        guest->socket->guest_count--;
        uv_close((uv_handle_t *)&guest->pipe, guest_closed);
        uv_close((uv_handle_t *)&guest->timer, guest_closed);
}

/* ---- Telling ---- */

static void guest_written(uv_write_t *write, int status) {
        (void)status;
        guest_close(write->data);
}

static void guest_send(struct metrics_guest *guest, const uv_buf_t *buffers, unsigned count) {
        guest->state = GUEST_TOLD;
        guest->write.data = guest;
        if (uv_write(&guest->write, (uv_stream_t *)&guest->pipe, buffers, count, guest_written) !=
                0)
                guest_close(guest);
}

static void guest_tell(struct metrics_guest *guest, struct told *told) {
        guest->told = told;
        told->guests++;
        uv_buf_t buffers[] = {uv_buf_init(told->head, (unsigned)strlen(told->head)),
                uv_buf_init(told->text, (unsigned)told->text_bytes)};
        guest_send(guest, guest->by_http ? buffers : buffers + 1, guest->by_http ? 2 : 1);
}

static void guest_refuse(struct metrics_guest *guest, const char *answer) {
        uv_buf_t buffer = uv_buf_init((char *)(uintptr_t)answer, (unsigned)strlen(answer));
        guest_send(guest, &buffer, 1);
}

/* ---- Rendering ---- */

static struct metrics_guest *guest_of(struct link *link) {
        return LINK_OWNER(link, struct metrics_guest, in_guests);
}

static void rendering_begin(struct metrics_socket *socket) {
        bool wanted = false;
        for (struct link *at = socket->guests.next; at != &socket->guests; at = at->next)
                if (guest_of(at)->state == GUEST_WAITING) {
                        guest_of(at)->state = GUEST_RENDERING;
                        wanted = true;
                }
        socket->rendering = wanted;
        if (wanted)
                worker_ask_for_metrics(&socket->serving->workers[0]);
}

void metrics_socket_render(struct metrics_socket *socket, struct worker *worker) {
        char *text = NULL;
        size_t bytes = 0;
        if (metrics_render(worker, METRICS_OPENMETRICS, NULL, &text, &bytes) != 0)
                text = NULL;
        pthread_mutex_lock(&socket->lock);
        free(socket->text);
        socket->text = text;
        socket->text_bytes = bytes;
        pthread_mutex_unlock(&socket->lock);
        uv_async_send(&socket->rendered);
}

/* NULL: there was no memory. */
static struct told *told_new(struct metrics_socket *socket) {
        struct told *told = calloc(1, sizeof(*told));
        pthread_mutex_lock(&socket->lock);
        char *text = socket->text;
        size_t bytes = socket->text_bytes;
        socket->text = NULL;
        pthread_mutex_unlock(&socket->lock);
        if (!told || !text) {
                free(told);
                free(text);
                return NULL;
        }
        *told = (struct told){.guests = 1, .text = text, .text_bytes = bytes};
        snprintf(told->head, sizeof(told->head),
                "HTTP/1.0 200 OK\r\nContent-Type: application/openmetrics-text; version=1.0.0; "
                "charset=utf-8\r\nContent-Length: %zu\r\n\r\n",
                bytes);
        return told;
}

static void on_rendered(uv_async_t *rendered) {
        struct metrics_socket *socket = rendered->data;
        struct told *told = told_new(socket);
        struct link *next;
        for (struct link *at = socket->guests.next; at != &socket->guests; at = next) {
                struct metrics_guest *guest = guest_of(at);
                next = at->next;
                if (guest->state != GUEST_RENDERING)
                        continue;
                if (told)
                        guest_tell(guest, told);
                else
                        guest_refuse(guest, "HTTP/1.0 503 Service Unavailable\r\n\r\n");
        }
        told_leave(told);
        rendering_begin(socket);
}

/* ---- Asking ---- */

static void guest_wants(struct metrics_guest *guest) {
        guest->state = GUEST_WAITING;
        if (!guest->socket->rendering)
                rendering_begin(guest->socket);
}

static void guest_judge(struct metrics_guest *guest) {
        bool whole = strstr(guest->head, "\r\n\r\n") || strstr(guest->head, "\n\n");
        if (!whole && guest->head_bytes == HEAD_MAX)
                guest_refuse(guest, "HTTP/1.0 431 Request Header Fields Too Large\r\n\r\n");
        if (!whole)
                return;
        guest->by_http = true;
        if (strncmp(guest->head, "GET ", 4) != 0)
                guest_refuse(guest, "HTTP/1.0 405 Method Not Allowed\r\nAllow: GET\r\n\r\n");
        else if (strncmp(guest->head + 4, "/metrics ", 9) != 0 &&
                 strncmp(guest->head + 4, "/ ", 2) != 0)
                guest_refuse(guest, "HTTP/1.0 404 Not Found\r\n\r\n");
        else
                guest_wants(guest);
}

/* What comes once it has asked is read and dropped. */
static void guest_room(uv_handle_t *handle, size_t suggested, uv_buf_t *out) {
        static char dropped[HEAD_MAX];
        struct metrics_guest *guest = handle->data;
        (void)suggested;
        *out = guest->state == GUEST_ASKING ? uv_buf_init(guest->head + guest->head_bytes,
                                                      (unsigned)(HEAD_MAX - guest->head_bytes))
                                            : uv_buf_init(dropped, sizeof(dropped));
}

static void guest_read(uv_stream_t *stream, ssize_t length, const uv_buf_t *buffer) {
        struct metrics_guest *guest = stream->data;
        (void)buffer;
        if (length < 0 && (length != UV_EOF || guest->head_bytes > 0) &&
                guest->state == GUEST_ASKING)
                guest_close(guest);
        else if (length < 0 && length != UV_EOF)
                guest_close(guest);
        if (length == UV_EOF)
                uv_read_stop(stream);
        if (guest->state != GUEST_ASKING)
                return;
        if (length == UV_EOF) {
                guest_wants(guest);
        } else if (length > 0) {
                guest->head_bytes += (size_t)length;
                guest->head[guest->head_bytes] = '\0';
                guest_judge(guest);
        }
}

static void guest_late(uv_timer_t *timer) {
        struct metrics_guest *guest = timer->data;
        guest_close(guest);
}

static void guest_silent(uv_timer_t *timer) {
        struct metrics_guest *guest = timer->data;
        uv_timer_start(timer, guest_late, PATIENCE_MS, 0);
        if (guest->state == GUEST_ASKING && guest->head_bytes == 0)
                guest_wants(guest);
}

/* ---- Coming and going ---- */

static void on_guest(uv_stream_t *listener, int status) {
        struct metrics_socket *socket = listener->data;
        struct metrics_guest *guest = status == 0 ? calloc(1, sizeof(*guest)) : NULL;
        if (!guest)
                return;
        guest->socket = socket;
        guest->handles = 2;
        uv_pipe_init(&socket->serving->loop, &guest->pipe, 0);
        uv_timer_init(&socket->serving->loop, &guest->timer);
        guest->pipe.data = guest->timer.data = guest;
        list_append(&socket->guests, &guest->in_guests);
        socket->guest_count++;
        if (uv_accept(listener, (uv_stream_t *)&guest->pipe) != 0 ||
                socket->guest_count > GUESTS_MAX ||
                uv_read_start((uv_stream_t *)&guest->pipe, guest_room, guest_read) != 0)
                guest_close(guest);
        else
                uv_timer_start(&guest->timer, guest_silent, SILENCE_MS, 0);
}

static int listener_start(struct metrics_socket *socket, int listen_fd) {
        int fd = fcntl(listen_fd, F_DUPFD_CLOEXEC, 0);
        if (fd < 0)
                return -errno;
        int error = uv_pipe_open(&socket->listener, fd);
        if (error) {
                close(fd);
                return error;
        }
        return uv_listen((uv_stream_t *)&socket->listener, (int)GUESTS_MAX, on_guest);
}

int metrics_socket_init(struct metrics_socket *socket, struct serving *serving, int listen_fd) {
        *socket = (struct metrics_socket){0};
        if (listen_fd < 0)
                return 0;
        int error = -pthread_mutex_init(&socket->lock, NULL);
        if (error)
                return error;
        error = uv_async_init(&serving->loop, &socket->rendered, on_rendered);
        if (error) {
                pthread_mutex_destroy(&socket->lock);
                return error;
        }
        socket->serving = serving;
        link_init(&socket->guests);
        uv_pipe_init(&serving->loop, &socket->listener, 0);
        socket->listener.data = socket->rendered.data = socket;
        return listener_start(socket, listen_fd);
}

void metrics_socket_stop(struct metrics_socket *socket) {
        if (!socket->serving)
                return;
        while (link_used(&socket->guests))
                guest_close(guest_of(socket->guests.next));
        uv_close((uv_handle_t *)&socket->listener, NULL);
}

void metrics_socket_deinit(struct metrics_socket *socket) {
        if (!socket->serving)
                return;
        uv_close((uv_handle_t *)&socket->rendered, NULL);
        pthread_mutex_destroy(&socket->lock);
        free(socket->text);
        socket->text = NULL;
}
