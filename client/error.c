/* Errors in words: what a number means, and the reason behind this thread's last refusal. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "client.h"

/* Per thread, for the client that last refused it something. */
static _Thread_local struct {
        const struct buddyclient *client;
        int64_t born; /* of that client: another may have its address by now */
        char text[CALL_DETAIL_BYTES];
} last_refusal;

int client_refuse(const struct buddyclient *client, int error, const char *format, ...) {
        if (!client)
                return error;
        last_refusal.client = client;
        last_refusal.born = client->born;
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(last_refusal.text, sizeof(last_refusal.text), format, arguments);
        va_end(arguments);
        return error;
}

void client_forget_detail(const struct buddyclient *client) {
        if (last_refusal.client == client)
                last_refusal.client = NULL;
}

const char *buddyclient_detail(struct buddyclient *client) {
        if (!client || last_refusal.client != client || last_refusal.born != client->born)
                return "";
        return last_refusal.text;
}

#define ERROR_LIST(X)                                                                              \
        X(0, "done")                                                                               \
        X(EINVAL, "a bad argument: zero length, a range never granted, an interior offset")        \
        X(E2BIG, "longer than this pool can ever grant")                                           \
        X(ENOMEM, "no block that large is free now")                                               \
        X(ETIMEDOUT, "waited, and none came free")                                                 \
        X(EDQUOT, "over this client's or this user's quota")                                       \
        X(ESTALE, "not held (any more): double free, somebody else's range, an old generation")    \
        X(EACCES, "not admitted to this pool, or to this operation")                               \
        X(ENOENT, "no such pool, peer or key")                                                     \
        X(ENOTCONN, "daemon unreachable and not back within the timeout")                          \
        X(EPROTO, "the other side does not speak this protocol")                                   \
        X(EBUSY, "already connected, or another thread dispatches")                                \
        X(EMFILE, "this process has too many open files")                                          \
        X(ENFILE, "this machine has too many open files")

const char *buddyclient_strerror(int error) {
        switch (error) {
#define X(number, text)                                                                            \
        case -number:                                                                              \
                return text;
                ERROR_LIST(X)
#undef X
        default:
                return "an error that this library does not know";
        }
}

const char *buddyclient_version(void) {
        return BUDDYD_VERSION;
}
