/* metrics: a text, in pages. What does not fit into one page is kept with the connection, so that all pages are of one
 * instant. */
#include "handle.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "connection.h"
#include "metrics.h"
#include "worker.h"

static void metrics_drop(struct connection *connection) {
        free(connection->metrics);
        connection->metrics = NULL;
        connection->metrics_bytes = 0;
}

static enum status metrics_begin(struct call *call) {
        struct connection *connection = call->connection;
        uint32_t format = call->request->metrics.format;
        if (format >= METRICS_FORMAT_END)
                return call_refuse(call, STATUS_INVALID,
                        "no format %" PRIu32 " of metrics; 0 is OpenMetrics, 1 is Prometheus' text",
                        format);
        metrics_drop(connection);
        if (metrics_render(call->worker, (enum metrics_format)format, connection,
                    &connection->metrics, &connection->metrics_bytes) != 0)
                return call_refuse(call, STATUS_NO_SPACE, "the daemon is out of memory");
        return STATUS_OK;
}

enum status handle_metrics(struct call *call) {
        struct connection *connection = call->connection;
        uint64_t cursor = call->request->metrics.cursor;
        enum status status = cursor == 0 ? metrics_begin(call) : STATUS_OK;
        if (status != STATUS_OK)
                return status;
        if (cursor >= connection->metrics_bytes)
                return call_refuse(call, STATUS_INVALID, "no such cursor");
        char *page = call->worker->scratch->page;
        size_t left = connection->metrics_bytes - cursor;
        size_t length = left < MESSAGE_PAGE_MAX ? left : MESSAGE_PAGE_MAX;
        memcpy(page, connection->metrics + cursor, length);
        page[length] = '\0';
        call->reply.kind = REPLY_TEXT;
        call->reply.text = (struct reply_text){
                .text = page,
                .next_cursor = length < left ? cursor + length : 0,
        };
        if (length == left)
                metrics_drop(connection);
        return STATUS_OK;
}
