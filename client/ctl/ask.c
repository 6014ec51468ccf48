/* The one place where what the daemon says, or does not say, becomes words and an exit status. */
#include "ask.h"

#include <errno.h>
#include <string.h>

#include "client/socket_path.h"
#include "complain.h"

static enum exit_status complain_unconnected(const char *path, int error) {
        switch (-error) {
        case ENOENT:
                return complain(EXIT_UNREACHABLE,
                        "no socket at %s; start buddyd, or name its socket with --socket", path);
        case ECONNREFUSED:
                return complain(EXIT_UNREACHABLE,
                        "nobody listens at %s; start buddyd, or name its socket with --socket",
                        path);
        case EACCES:
        case EPERM:
                return complain(EXIT_UNREACHABLE,
                        "not permitted to connect to %s; become a member of the socket's group",
                        path);
        case ETIMEDOUT:
                return complain(EXIT_UNREACHABLE,
                        "buddyd at %s takes no connection within %d s; let it go on if it is "
                        "stopped, "
                        "or try again later",
                        path, OBSERVER_TIMEOUT_MS / 1000);
        default:
                return complain(EXIT_UNREACHABLE,
                        "cannot connect to %s: %s; name buddyd's socket with --socket", path,
                        strerror(-error));
        }
}

enum exit_status ask_complain_unanswered(int error) {
        switch (-error) {
        case ETIMEDOUT:
                return complain(EXIT_UNREACHABLE, "buddyd does not answer in time; let it go on if "
                                                  "it is stopped, or try again "
                                                  "when it is less busy");
        case ECONNRESET:
                return complain(EXIT_UNREACHABLE, "buddyd closed the connection; its log says why");
        case EPROTO:
                return complain(EXIT_UNREACHABLE,
                        "what answers there does not speak this protocol; name the socket of a "
                        "buddyd of this version with --socket");
        default:
                return complain(EXIT_UNREACHABLE,
                        "talking to buddyd failed: %s; try again, its log may say more",
                        strerror(-error));
        }
}

/* For a refusal without words of its own. */
static const char *refusal_cause(enum status status) {
        switch (status) {
        case STATUS_TOO_BIG:
                return "longer than this pool can ever grant";
        case STATUS_NO_SPACE:
                return "no block that large is free now";
        case STATUS_STALE:
                return "not held, or not by the operator";
        case STATUS_DENIED:
                return "only root, the daemon's user and the pool's admin group may do this";
        case STATUS_NOT_FOUND:
                return "no such pool";
        case STATUS_UNKNOWN_REQUEST:
                return "this buddyd does not know the request";
        default:
                return strerror(-status_to_errno(status));
        }
}

/* Empty: the daemon's own words say it. */
static const char *refusal_mend(enum request_kind kind, enum status status) {
        if (kind == REQUEST_UNHOLD && (status == STATUS_INVALID || status == STATUS_STALE))
                return "; \"buddyctl ranges\" shows what is held";
        if (kind == REQUEST_KICK && status == STATUS_NOT_FOUND)
                return "; \"buddyctl clients\" shows who is there";
        switch (status) {
        case STATUS_TOO_BIG:
                return "; ask for less";
        case STATUS_NO_SPACE:
                return "; ask for less, or return some";
        case STATUS_DENIED:
                return "; run it as one of them";
        case STATUS_NOT_FOUND:
                return "; name another one with --pool";
        case STATUS_UNKNOWN_REQUEST:
                return "; update it";
        default:
                return "";
        }
}

static enum exit_status complain_refused(
        enum request_kind kind, const struct reply_refused *refused) {
        bool worded = refused->detail && refused->detail[0] != '\0';
        bool mended = worded && strchr(refused->detail, ';'); /* by the daemon's own words */
        return complain(EXIT_REFUSED, "%s%s",
                worded ? refused->detail : refusal_cause(refused->status),
                mended ? "" : refusal_mend(kind, refused->status));
}

enum exit_status ask_socket(const struct invocation *invocation, struct sockaddr_un *out) {
        struct socket_surroundings here =
                socket_surroundings_here(invocation->values[OPTION_SOCKET]);
        switch (-socket_path_find(&here, out)) {
        case 0:
                return EXIT_DONE;
        case EINVAL:
                return complain(EXIT_USAGE,
                        "the socket's path is over %zu bytes; give a shorter one with --socket",
                        sizeof(out->sun_path) - 1);
        default:
                return complain(EXIT_UNREACHABLE, "no socket to look for: give --socket, or set "
                                                  "BUDDYD_SOCKET or XDG_RUNTIME_DIR");
        }
}

const char *ask_pool(const struct invocation *invocation) {
        return invocation_has(invocation, OPTION_POOL) ? invocation->values[OPTION_POOL]
                                                       : "default";
}

enum exit_status ask(struct observer *observer, struct request *request, enum reply_kind wanted,
        struct reply *out) {
        struct reply reply;
        int error = observer_call(observer, request, &reply);
        if (error != 0)
                return ask_complain_unanswered(error);
        if (reply.kind == REPLY_REFUSED)
                return complain_refused(request->kind, &reply.refused);
        if (reply.kind != wanted)
                return ask_complain_unanswered(-EPROTO);
        *out = reply;
        return EXIT_DONE;
}

enum exit_status ask_connect(const struct invocation *invocation, struct observer *out) {
        struct sockaddr_un address;
        enum exit_status status = ask_socket(invocation, &address);
        if (status != EXIT_DONE)
                return status;
        int error = observer_open(out, &address);
        return error != 0 ? complain_unconnected(address.sun_path, error) : EXIT_DONE;
}

static enum exit_status hello_within(const struct invocation *invocation,
        const struct request_hello *hello, int timeout_ms, struct observer *out,
        struct reply_welcome *welcome) {
        struct observer observer;
        enum exit_status status = ask_connect(invocation, &observer);
        if (status != EXIT_DONE)
                return status;
        observer_set_timeout(&observer, timeout_ms);

        struct request request = {.kind = REQUEST_HELLO, .hello = *hello};
        struct reply reply;
        status = ask(&observer, &request, REPLY_WELCOME, &reply);
        if (status != EXIT_DONE) {
                observer_close(&observer);
                return status;
        }
        if (welcome)
                *welcome = reply.welcome;
        *out = observer;
        return EXIT_DONE;
}

enum exit_status ask_hello(const struct invocation *invocation, const struct request_hello *hello,
        struct observer *out, struct reply_welcome *welcome) {
        return hello_within(invocation, hello, OBSERVER_TIMEOUT_MS, out, welcome);
}

enum exit_status ask_open_within(const struct invocation *invocation, int timeout_ms,
        struct observer *out, struct reply_welcome *welcome) {
        struct request_hello hello = {
                .version = PROTOCOL_VERSION,
                .pool = ask_pool(invocation),
                .name = "buddyctl",
                .access = ACCESS_OBSERVER,
        };
        return hello_within(invocation, &hello, timeout_ms, out, welcome);
}

enum exit_status ask_open(
        const struct invocation *invocation, struct observer *out, struct reply_welcome *welcome) {
        return ask_open_within(invocation, OBSERVER_TIMEOUT_MS, out, welcome);
}
