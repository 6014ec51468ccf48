/* metrics: once to standard output or a file, or over and over by HTTP. */
#include <stdlib.h>
#include <string.h>

#include "ask.h"
#include "complain.h"
#include "file_replace.h"
#include "metrics_bridge.h"
#include "metrics_json.h"
#include "metrics_pages.h"

static enum exit_status format_find(
        const struct invocation *invocation, enum metrics_format *format) {
        const char *name = invocation->values[OPTION_FORMAT];
        *format = invocation_has(invocation, OPTION_TEXTFILE) ? METRICS_PROMETHEUS
                                                              : METRICS_OPENMETRICS;
        if (!name)
                return EXIT_DONE;
        if (strcmp(name, "openmetrics") == 0)
                *format = METRICS_OPENMETRICS;
        else if (strcmp(name, "prometheus") == 0)
                *format = METRICS_PROMETHEUS;
        else
                return complain(EXIT_USAGE,
                        "--format: there is no \"%s\"; give openmetrics or prometheus", name);
        return EXIT_DONE;
}

static enum exit_status fetch(
        const struct invocation *invocation, enum metrics_format format, struct metrics_text *out) {
        struct observer observer;
        enum exit_status status = ask_connect(invocation, &observer);
        if (status != EXIT_DONE)
                return status;
        int result = metrics_fetch(&observer, format, out);
        observer_close(&observer);
        if (result == STATUS_UNKNOWN_REQUEST || result == STATUS_PROTOCOL)
                return complain(EXIT_REFUSED, "this buddyd knows no metrics; update it");
        if (result > 0)
                return complain(EXIT_REFUSED, "buddyd refuses: %s; try again later",
                        strerror(-status_to_errno((unsigned)result)));
        return result < 0 ? ask_complain_unanswered(result) : EXIT_DONE;
}

static enum exit_status deliver(const char *path, const struct metrics_text *text) {
        struct file_replace file;
        enum exit_status status = file_replace_begin(&file, path);
        if (status != EXIT_DONE)
                return status;
        fwrite(text->bytes, 1, text->length, file.out);
        return file_replace_end(&file, EXIT_DONE);
}

static enum exit_status deliver_json(struct metrics_text *text) {
        if (metrics_json_write(stdout, text) == 0)
                return EXIT_DONE;
        return complain(EXIT_UNREACHABLE, "what buddyd sent is no metrics; name the socket of a "
                                          "buddyd of this version with --socket");
}

enum exit_status cmd_metrics(const struct invocation *invocation) {
        const char *path = invocation->values[OPTION_TEXTFILE];
        const char *address = invocation->values[OPTION_LISTEN];
        enum metrics_format format;
        enum exit_status status = format_find(invocation, &format);
        if (status != EXIT_DONE)
                return status;
        if (address && (path || invocation_has(invocation, OPTION_FORMAT)))
                return complain(EXIT_USAGE, "metrics: --listen goes with neither --textfile nor "
                                            "--format; leave them out");
        bool json = invocation_has(invocation, OPTION_JSON);
        if (json && (path || address || invocation_has(invocation, OPTION_FORMAT)))
                return complain(EXIT_USAGE, "metrics: --json goes without --textfile, --listen and "
                                            "--format; leave it or them out");
        if (address)
                return metrics_bridge_run(invocation, address);
        struct metrics_text text;
        status = fetch(invocation, format, &text);
        if (status != EXIT_DONE)
                return status;
        status = json ? deliver_json(&text) : deliver(path ? path : "-", &text);
        free(text.bytes);
        return status;
}
