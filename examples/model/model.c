/* model: keeps a file under a key, where any process finds it, while its publisher comes and goes.
 *
 * A range is a power of two of pages, so the file's length stands in a header before its bytes. What is published is
 * never written again: a new version is a new range, and the key is moved to it in one step. Who has looked up the
 * old one keeps it until he lets it go. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <openssl/evp.h>

#include <buddyclient.h>

#include "options.h"

#define SHA256_BYTES 32

static const char header_magic[8] = "MODEL 1";

struct header {
        char magic[8];
        uint64_t bytes;     /* of the file, right behind the header */
        uint8_t unused[48]; /* so that the file begins on a cache line of its own */
};

struct model { /* a version that was looked up and is held */
        struct buddyclient_range range;
        const uint8_t *bytes;
        uint64_t count;
        uint8_t sha256[SHA256_BYTES];
};

static int complain(struct buddyclient *client, const char *what, const char *name, int error) {
        const char *detail = buddyclient_detail(client);
        fprintf(stderr, "model: cannot %s %s: %s\n", what, name,
                detail[0] ? detail : buddyclient_strerror(error));
        return error;
}

static int complain_of_file(const char *path, const char *why) {
        fprintf(stderr, "model: cannot publish %s: %s\n", path, why);
        return -EIO;
}

static int connected(const struct options *options, struct buddyclient **out) {
        struct buddyclient *client;
        int rc = buddyclient_new(&client);
        if (rc) {
                fprintf(stderr, "model: %s\n", buddyclient_strerror(rc));
                return rc;
        }
        if (options->socket)
                rc = buddyclient_set_socket(client, options->socket);
        if (!rc && options->pool)
                rc = buddyclient_set_pool(client, options->pool);
        if (!rc)
                rc = buddyclient_set_read_only(client, options->command == COMMAND_USE);
        if (!rc)
                rc = buddyclient_connect(client);
        if (rc) {
                complain(client, "connect to", "the pool", rc);
                buddyclient_destroy(client);
                return rc;
        }
        *out = client;
        return 0;
}

/* ---- publish ---- */

/* Reads to the end of the file, which must be where it is expected. */
static int file_read(const char *path, int fd, uint8_t *memory, uint64_t bytes) {
        uint64_t done = 0;
        for (;;) {
                uint8_t more;
                uint8_t *to = done < bytes ? memory + done : &more;
                ssize_t got = read(fd, to, done < bytes ? bytes - done : 1);
                if (got < 0 && errno != EINTR)
                        return complain_of_file(path, strerror(errno));
                if ((got == 0 && done < bytes) || (got > 0 && done == bytes))
                        return complain_of_file(path, "it changed while it was read");
                if (got == 0)
                        return 0;
                if (got > 0)
                        done += (uint64_t)got;
        }
}

static int publish_open(const struct options *options, struct buddyclient *client, int fd) {
        struct stat status;
        if (fstat(fd, &status))
                return complain_of_file(options->file, strerror(errno));
        if (!S_ISREG(status.st_mode))
                return complain_of_file(options->file, "not a regular file");
        uint64_t bytes = (uint64_t)status.st_size;
        struct buddyclient_range range;
        int rc = buddyclient_alloc(client, sizeof(struct header) + bytes, &range);
        if (rc)
                return complain(client, "publish", options->file, rc);
        struct header *header = buddyclient_pointer(client, &range);
        *header = (struct header){.bytes = bytes};
        memcpy(header->magic, header_magic, sizeof(header->magic));
        rc = file_read(options->file, fd, (uint8_t *)(header + 1), bytes);
        if (rc)
                return rc;
        rc = buddyclient_publish(client, options->key, &range);
        if (rc)
                return complain(client, "publish under", options->key, rc);
        printf("published %s: %" PRIu64 " bytes\n", options->key, bytes);
        return 0;
}

static int run_publish(const struct options *options, struct buddyclient *client) {
        int fd = open(options->file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        if (fd < 0)
                return complain_of_file(options->file, strerror(errno));
        int rc = publish_open(options, client, fd);
        close(fd);
        return rc;
}

/* ---- use ---- */

static int digest(const struct model *model, uint8_t sha256[SHA256_BYTES]) {
        if (EVP_Digest(model->bytes, model->count, sha256, NULL, EVP_sha256(), NULL))
                return 0;
        fprintf(stderr, "model: cannot compute SHA-256\n");
        return -EIO;
}

static void say(const char *what, const struct model *model, const char *key) {
        printf("%s ", what);
        for (size_t i = 0; i < SHA256_BYTES; i++)
                printf("%02x", model->sha256[i]);
        printf(" %" PRIu64 " bytes %s\n", model->count, key);
}

/* What is under a key may be anything. */
static int model_read(
        const struct options *options, struct buddyclient *client, struct model *model) {
        struct header header;
        const uint8_t *memory = buddyclient_pointer(client, &model->range);
        memcpy(&header, memory, sizeof(header));
        if (memcmp(header.magic, header_magic, sizeof(header.magic)) != 0 ||
                header.bytes > model->range.length - sizeof(header)) {
                fprintf(stderr, "model: what is under %s is no model\n", options->key);
                return -EINVAL;
        }
        model->bytes = memory + sizeof(header);
        model->count = header.bytes;
        return digest(model, model->sha256);
}

/* Looks the key up once more; a version that is new takes the place of the one in use. 0 or -errno. */
static int follow(const struct options *options, struct buddyclient *client, struct model *in_use) {
        struct model found = {0};
        int rc = buddyclient_lookup(client, options->key, &found.range);
        if (rc)
                return rc;
        bool same = found.range.offset == in_use->range.offset &&
                    found.range.generation == in_use->range.generation;
        struct model leaving = same ? found : *in_use;
        if (!same && !model_read(options, client, &found)) {
                *in_use = found;
                say("replaced by", in_use, options->key);
        } else if (!same) {
                leaving = found;
        }
        return buddyclient_release(client, &leaving.range);
}

static int follow_for_seconds(
        const struct options *options, struct buddyclient *client, struct model *in_use) {
        int said = 0;
        for (uint64_t second = 0; second < options->seconds; second++) {
                nanosleep(&(struct timespec){.tv_sec = 1}, NULL);
                int rc = follow(options, client, in_use);
                if (rc && rc != said)
                        printf("%s: %s; still using what it was\n", options->key,
                                rc == -ENOENT ? "nothing is under the key"
                                              : buddyclient_strerror(rc));
                said = rc;
        }
        uint8_t sha256[SHA256_BYTES];
        int rc = digest(in_use, sha256);
        if (!rc && memcmp(sha256, in_use->sha256, sizeof(sha256)) != 0) {
                fprintf(stderr, "model: the bytes of %s have changed\n", options->key);
                rc = -EIO;
        }
        if (!rc)
                say("at the end", in_use, options->key);
        return rc;
}

static int run_use(const struct options *options, struct buddyclient *client) {
        struct model model = {0};
        int rc = buddyclient_lookup(client, options->key, &model.range);
        if (rc)
                return complain(client, "use", options->key, rc);
        rc = model_read(options, client, &model);
        if (rc)
                return rc;
        say("using", &model, options->key);
        return options->seconds ? follow_for_seconds(options, client, &model) : 0;
}

/* ---- drop ---- */

static int run_drop(const struct options *options, struct buddyclient *client) {
        int rc = buddyclient_unpublish(client, options->key);
        if (rc)
                return complain(client, "drop", options->key, rc);
        printf("dropped %s\n", options->key);
        return 0;
}

int main(int argc, char **argv) {
        struct options options;
        int exit_code;
        if (!options_read(argc, argv, &options, &exit_code))
                return exit_code;
        setvbuf(stdout, NULL, _IOLBF, 0);
        struct buddyclient *client;
        if (connected(&options, &client))
                return EXIT_FAILURE;
        int rc = options.command == COMMAND_PUBLISH ? run_publish(&options, client)
                 : options.command == COMMAND_USE   ? run_use(&options, client)
                                                    : run_drop(&options, client);
        buddyclient_destroy(client); /* and with it all that this process holds */
        return rc ? EXIT_FAILURE : EXIT_SUCCESS;
}
