/* A client's life: made, set up, destroyed. And the one place through which every request goes. */
#include "client.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "deadline.h"
#include "submit.h"

#define TIMEOUT_MS_DEFAULT  5000
#define CACHE_BYTES_DEFAULT (UINT64_C(1) << 20)

static bool is_control(char c) {
        return (unsigned char)c < 0x20 || c == 0x7f;
}

static void name_after_program(char name[CLIENT_NAME_MAX + 1]) {
        strncpy(name, program_invocation_short_name, CLIENT_NAME_MAX);
        for (; *name; name++)
                if (is_control(*name))
                        *name = '?';
}

int buddyclient_new(struct buddyclient **out) {
        if (!out)
                return -EINVAL;
        struct buddyclient *client = calloc(1, sizeof(*client));
        if (!client)
                return -ENOMEM;
        if (process_mark_init(&client->mark) < 0) {
                free(client);
                return -ENOMEM;
        }
        client->timeout_ms = TIMEOUT_MS_DEFAULT;
        client->cache_bytes = CACHE_BYTES_DEFAULT;
        client->born = deadline_now();
        memcpy(client->pool, "default", sizeof("default"));
        name_after_program(client->name);
        holdings_init(&client->holdings);
        *out = client;
        return 0;
}

/* ---- Setters ---- */

static int settable(const struct buddyclient *client) {
        if (!client)
                return -EINVAL;
        if (!process_mark_is_mine(&client->mark))
                return client_refuse(
                        client, -ENOTCONN, "this client belongs to the parent process");
        if (client->connected)
                return client_refuse(client, -EBUSY, "already connected");
        return 0;
}

/* Copies a text of min to max bytes into a field of max + 1. */
static int set_text(
        const struct buddyclient *client, char *field, const char *text, size_t min, size_t max) {
        int rc = settable(client);
        if (rc < 0)
                return rc;
        size_t length = text ? strnlen(text, max + 1) : 0;
        if (!text || length < min || length > max)
                return client_refuse(
                        client, -EINVAL, "a name of %zu to %zu bytes is needed", min, max);
        memcpy(field, text, length + 1);
        return 0;
}

int buddyclient_set_socket(struct buddyclient *client, const char *path) {
        int rc = settable(client);
        if (rc < 0)
                return rc;
        size_t max = sizeof(((struct sockaddr_un *)0)->sun_path) - 1;
        if (!path || path[0] == '\0' || strnlen(path, max + 1) > max)
                return client_refuse(
                        client, -EINVAL, "a socket path of 1 to %zu bytes is needed", max);
        char *copy = strdup(path);
        if (!copy)
                return -ENOMEM;
        free(client->socket_path);
        client->socket_path = copy;
        return 0;
}

int buddyclient_set_pool(struct buddyclient *client, const char *pool) {
        return set_text(client, client ? client->pool : NULL, pool, 1, CLIENT_POOL_MAX);
}

int buddyclient_set_name(struct buddyclient *client, const char *name) {
        for (size_t i = 0; client && name && name[i] && i <= CLIENT_NAME_MAX; i++)
                if (is_control(name[i]) && settable(client) == 0)
                        return client_refuse(client, -EINVAL, "a name has no control characters");
        return set_text(client, client ? client->name : NULL, name, 0, CLIENT_NAME_MAX);
}

int buddyclient_set_read_only(struct buddyclient *client, bool read_only) {
        int rc = settable(client);
        if (rc == 0)
                client->read_only = read_only;
        return rc;
}

int buddyclient_set_cache_bytes(struct buddyclient *client, uint64_t bytes) {
        int rc = settable(client);
        if (rc == 0)
                client->cache_bytes = bytes;
        return rc;
}

int buddyclient_set_timeout_ms(struct buddyclient *client, int timeout_ms) {
        int rc = settable(client);
        if (rc < 0)
                return rc;
        if (timeout_ms < -1)
                return client_refuse(client, -EINVAL, "a timeout of %d ms", timeout_ms);
        client->timeout_ms = timeout_ms;
        return 0;
}

/* ---- Requests ---- */

int client_usable(const struct buddyclient *client) {
        if (!client)
                return -EINVAL;
        if (!process_mark_is_mine(&client->mark))
                return client_refuse(
                        client, -ENOTCONN, "this client belongs to the parent process");
        if (!client->connected)
                return client_refuse(client, -ENOTCONN, "not connected yet");
        if (client->destroyed)
                return client_refuse(client, -ENOTCONN, "the client is destroyed");
        return 0;
}

int client_exchange(struct buddyclient *client, struct request *request, struct call *call) {
        call->timeout_ms = client->timeout_ms;
        int rc = channel_call(&client->channel, request, call);
        if (rc < 0)
                client_refuse(client, rc, "%s",
                        call->detail[0] != '\0' ? call->detail : buddyclient_strerror(rc));
        return rc;
}

struct request_hello client_hello(const struct buddyclient *client) {
        return (struct request_hello){
                .version = PROTOCOL_VERSION,
                .features = FEATURE_RESUMES,
                .pool = client->pool,
                .name = client->name,
                .access = client->read_only ? ACCESS_READ_ONLY : ACCESS_READ_WRITE,
                .session = client->session,
                .token = client->connected ? client->token : NULL,
                .cache_bytes = client->cache_bytes,
        };
}

void client_learn_size(struct buddyclient *client, uint64_t size_bytes) {
        if (size_bytes > buddyclient_size(client) && size_bytes <= client->max_size_bytes)
                atomic_store_explicit(&client->size_bytes, size_bytes, memory_order_relaxed);
}

uint32_t buddyclient_id(struct buddyclient *client) {
        return client ? client->session : 0;
}

/* ---- The cache ---- */

void client_uncache(struct buddyclient *client, unsigned order, unsigned keep) {
        struct request request = {
                .kind = REQUEST_UNCACHE, .uncache = {.order = order, .keep = keep}};
        channel_post(&client->channel, &request);
}

void client_uncache_orders(struct buddyclient *client, uint32_t orders) {
        if (orders != 0)
                channel_empty_orders(&client->channel, orders);
}

int client_leave_cache(struct buddyclient *client, const struct buddyclient_range *range) {
        struct cache *cache = &client->cache;
        struct holding holding = {.offset = range->offset,
                .length = range->length,
                .generation = (uint32_t)range->generation,
                .use = (uint32_t)(range->generation >> 32)};
        for (;;) {
                uint64_t word = 0;
                enum cache_verdict verdict =
                        cache->area ? cache_judge(cache, range, &word) : CACHE_UNKNOWN;
                /* A gift has its word before the table has heard that an earlier hold of the range is gone. */
                bool named = verdict >= CACHE_MINE && cache_word_name(word) == range->generation;
                if (verdict == CACHE_STALE ||
                        (!named && range->generation >> 56 == 0 &&
                                !holdings_name_is_right(&client->holdings, &holding)))
                        return client_refuse_range(client, range, -ESTALE);
                if (verdict == CACHE_UNKNOWN || !(word & (CACHE_COUNTED | CACHE_GIFT)))
                        return 0;
                if (word & CACHE_GIFT) { /* which the table has no more than the daemon counts it */
                        if (cache_leave(cache, range, word))
                                return 0;
                        continue;
                }
                if (holdings_reserve(&client->holdings, 1) < 0)
                        return client_refuse(client, -ENOMEM, "no memory left in this process");
                holdings_lock(&client->holdings);
                bool left = cache_leave(cache, range, word);
                bool added = left && holdings_add_locked(&client->holdings, &holding) == 0;
                holdings_unlock(&client->holdings);
                if (!added)
                        holdings_unreserve(&client->holdings, 1);
                if (left)
                        return 0;
        }
}

/* ---- The end ---- */

static int accept_done(void *context, const struct reply *reply) {
        (void)context;
        return reply->kind == REPLY_DONE ? 0 : -EPROTO;
}

/* Waits until the daemon has taken everything back. A daemon that is away is waited for as by any call:
 * it would keep what this process holds as long as the process lives. */
static void say_goodbye(struct buddyclient *client) {
        struct request request = {.kind = REQUEST_GOODBYE};
        struct call call = {.accept = accept_done, .timeout_ms = client->timeout_ms};
        channel_call(&client->channel, &request, &call);
}

void buddyclient_destroy(struct buddyclient *client) {
        if (!client)
                return;
        bool mine = process_mark_is_mine(&client->mark);
        if (client->connected) {
                if (mine)
                        say_goodbye(client);
                client->destroyed = true;
                /* Also what a callback calls is refused where the daemon still serves the cache. */
                cache_shut(&client->cache);
                if (mine)
                        submit_end(client);
                else
                        submit_forget(client);
                channel_deinit(&client->channel, !mine);
                mapping_deinit(&client->mapping);
                cache_deinit(&client->cache);
                roll_deinit(&client->roll);
                stream_descriptors_close(&client->reopening.descriptors);
        }
        client_forget_detail(client);
        holdings_deinit(&client->holdings);
        process_mark_deinit(&client->mark);
        free(client->socket_path);
        free(client);
}
