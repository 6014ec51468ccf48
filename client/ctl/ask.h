/* Asking the daemon on behalf of a command: connects to the pool that was named, and turns whatever goes
 * wrong into one line on stderr and the exit status that stands for it. */
#pragma once

#include "arguments.h"
#include "observer.h"

/* The socket to use: --socket, else as the client library finds it. */
enum exit_status ask_socket(const struct invocation *invocation, struct sockaddr_un *out);

/* The pool to use. */
const char *ask_pool(const struct invocation *invocation);

/* Opens an observer of the pool. EXIT_DONE: the caller closes it; *welcome (may be NULL) is valid until the
 * next ask but for its token and descriptors. */
enum exit_status ask_open(
        const struct invocation *invocation, struct observer *out, struct reply_welcome *welcome);

/* The same, and no wait for the daemon is longer than this. */
enum exit_status ask_open_within(const struct invocation *invocation, int timeout_ms,
        struct observer *out, struct reply_welcome *welcome);

/* The same with another hello than the observer's. */
enum exit_status ask_hello(const struct invocation *invocation, const struct request_hello *hello,
        struct observer *out, struct reply_welcome *welcome);

/* Connects and says no hello: for what the daemon answers without one. */
enum exit_status ask_connect(const struct invocation *invocation, struct observer *out);

/* One request. EXIT_DONE: *out is a reply of the wanted kind. */
enum exit_status ask(struct observer *observer, struct request *request, enum reply_kind wanted,
        struct reply *out);

/* Says why there is no answer: a negative errno of observer.h. */
enum exit_status ask_complain_unanswered(int error);
