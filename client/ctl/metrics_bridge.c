/* libmicrohttpd's threads answer; the main thread waits for a signal and ends connections that are too old, whatever
 * their clients do or leave. One request to a connection. */
#include "metrics_bridge.h"

#include <errno.h>
#include <microhttpd.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "ask.h"
#include "client/deadline.h"
#include "complain.h"
#include "metrics_pages.h"
#include "output.h"
#include "tcp_listener.h"

#define THREADS         4u
#define CONNECTIONS_MAX 256u
#define LIFE_NS         INT64_C(5000000000) /* of a connection, from accept to the last byte */
#define PATIENCE_MS     2000                /* with the daemon */

struct bridge {
        struct sockaddr_un daemon;
        _Atomic bool away;    /* the daemon, when it was asked last */
        pthread_mutex_t lock; /* guards the list */
        struct guest *guests;
};

/* A connection that is open. */
struct guest {
        struct guest *next;
        int fd;
        int64_t since_ns;
};

/* ---- What is served ---- */

static enum MHD_Result answer(struct MHD_Connection *connection, unsigned status,
        const char *content_type, struct MHD_Response *response) {
        if (!response)
                return MHD_NO;
        MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, content_type);
        MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
        enum MHD_Result queued = MHD_queue_response(connection, status, response);
        MHD_destroy_response(response);
        return queued;
}

static enum MHD_Result answer_line(
        struct MHD_Connection *connection, unsigned status, const char *line) {
        struct MHD_Response *response = MHD_create_response_from_buffer(
                strlen(line), (void *)(uintptr_t)line, MHD_RESPMEM_MUST_COPY);
        if (response && status == MHD_HTTP_METHOD_NOT_ALLOWED)
                MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
        return answer(connection, status, "text/plain; charset=utf-8", response);
}

/* 0, an enum status, or -errno. */
static int daemon_fetch(
        struct bridge *bridge, enum metrics_format format, struct metrics_text *text) {
        struct observer observer;
        int result = observer_open(&observer, &bridge->daemon);
        if (result != 0)
                return result;
        result = observer_set_timeout(&observer, PATIENCE_MS);
        if (result == 0)
                result = metrics_fetch(&observer, format, text);
        observer_close(&observer);
        return result;
}

/* One line when it goes, and one when it is back. */
static void daemon_note(struct bridge *bridge, int result) {
        if (atomic_exchange(&bridge->away, result != 0) == (result != 0))
                return;
        if (result == 0)
                complain(EXIT_DONE, "buddyd at %s answers again", bridge->daemon.sun_path);
        else
                complain(EXIT_UNREACHABLE,
                        "buddyd at %s gives no metrics: %s; scrapes fail until it does",
                        bridge->daemon.sun_path,
                        strerror(result < 0 ? -result : -status_to_errno((unsigned)result)));
}

static enum MHD_Result serve_metrics(struct bridge *bridge, struct MHD_Connection *connection) {
        const char *accepted =
                MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_ACCEPT);
        bool open = accepted && strstr(accepted, "application/openmetrics-text");
        struct metrics_text text;
        int result = daemon_fetch(bridge, open ? METRICS_OPENMETRICS : METRICS_PROMETHEUS, &text);
        daemon_note(bridge, result);
        if (result != 0)
                return answer_line(connection, MHD_HTTP_SERVICE_UNAVAILABLE,
                        "buddyd does not answer; start it\n");
        struct MHD_Response *response =
                MHD_create_response_from_buffer(text.length, text.bytes, MHD_RESPMEM_MUST_FREE);
        if (!response)
                free(text.bytes);
        return answer(connection, MHD_HTTP_OK,
                open ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
                     : "text/plain; version=0.0.4; charset=utf-8",
                response);
}

static enum MHD_Result on_request(void *context, struct MHD_Connection *connection,
        const char *path, const char *method, const char *version, const char *upload,
        size_t *upload_bytes, void **state) {
        (void)version;
        (void)upload;
        (void)upload_bytes;
        (void)state;
        if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
                return answer_line(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "only GET and HEAD\n");
        if (strcmp(path, "/metrics") == 0)
                return serve_metrics(context, connection);
        return answer_line(connection, MHD_HTTP_NOT_FOUND, "the metrics are at /metrics\n");
}

/* ---- Connections ---- */

static void guest_enter(struct bridge *bridge, struct MHD_Connection *connection, void **slot) {
        struct guest *guest = malloc(sizeof(*guest));
        if (!guest)
                return;
        guest->fd =
                MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
        guest->since_ns = deadline_now();
        pthread_mutex_lock(&bridge->lock);
        guest->next = bridge->guests;
        bridge->guests = guest;
        pthread_mutex_unlock(&bridge->lock);
        *slot = guest;
}

static void guest_leave(struct bridge *bridge, struct guest *guest) {
        pthread_mutex_lock(&bridge->lock);
        struct guest **at = &bridge->guests;
        while (*at && *at != guest)
                at = &(*at)->next;
        if (*at)
                *at = guest->next;
        pthread_mutex_unlock(&bridge->lock);
        free(guest);
}

/* The descriptor is closed only after a guest has left. */
static void on_connection(void *context, struct MHD_Connection *connection, void **slot,
        enum MHD_ConnectionNotificationCode code) {
        if (code == MHD_CONNECTION_NOTIFY_STARTED)
                guest_enter(context, connection, slot);
        else if (*slot)
                guest_leave(context, *slot);
}

static void guests_expire(struct bridge *bridge) {
        int64_t now_ns = deadline_now();
        pthread_mutex_lock(&bridge->lock);
        for (struct guest *guest = bridge->guests; guest; guest = guest->next)
                if (now_ns - guest->since_ns > LIFE_NS)
                        shutdown(guest->fd, SHUT_RDWR);
        pthread_mutex_unlock(&bridge->lock);
}

/* ---- Running ---- */

/* What clients do wrong is not the operator's to read. */
static void on_log(void *context, const char *format, va_list arguments) {
        (void)context;
        (void)format;
        (void)arguments;
}

/* Until one of the signals, which are blocked. */
static void bridge_wait(struct bridge *bridge, const sigset_t *signals) {
        static const struct timespec second = {.tv_sec = 1};
        int got;
        do {
                got = sigtimedwait(signals, NULL, &second);
                guests_expire(bridge);
        } while (got < 0);
}

static enum exit_status bridge_serve(struct bridge *bridge, const struct tcp_listener *listener) {
        sigset_t signals;
        sigemptyset(&signals);
        sigaddset(&signals, SIGINT);
        sigaddset(&signals, SIGTERM);
        pthread_sigmask(SIG_BLOCK, &signals, NULL);
        struct MHD_Daemon *http = MHD_start_daemon(MHD_USE_POLL_INTERNAL_THREAD | MHD_USE_ERROR_LOG,
                0, NULL, NULL, on_request, bridge, MHD_OPTION_EXTERNAL_LOGGER, on_log, NULL,
                MHD_OPTION_LISTEN_SOCKET, listener->fd, MHD_OPTION_THREAD_POOL_SIZE, THREADS,
                MHD_OPTION_CONNECTION_LIMIT, CONNECTIONS_MAX, MHD_OPTION_CONNECTION_TIMEOUT, 5u,
                MHD_OPTION_NOTIFY_CONNECTION, on_connection, bridge, MHD_OPTION_END);
        if (!http) {
                close(listener->fd);
                return complain(EXIT_REFUSED,
                        "cannot serve HTTP: %s; make memory and descriptors "
                        "available and try again",
                        strerror(errno));
        }
        printf("listening on http://%s/metrics\n", listener->name);
        enum exit_status status = output_flush(NULL);
        if (status == EXIT_DONE)
                bridge_wait(bridge, &signals);
        MHD_stop_daemon(http);
        return status;
}

enum exit_status metrics_bridge_run(const struct invocation *invocation, const char *address) {
        struct bridge bridge = {.lock = PTHREAD_MUTEX_INITIALIZER};
        struct tcp_listener listener;
        enum exit_status status = ask_socket(invocation, &bridge.daemon);
        if (status == EXIT_DONE)
                status = tcp_listener_open(address, &listener);
        return status == EXIT_DONE ? bridge_serve(&bridge, &listener) : status;
}
