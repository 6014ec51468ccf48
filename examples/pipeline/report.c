/* The closing report. */
#include "report.h"

#include <inttypes.h>
#include <time.h>

#include "pool.h"

uint64_t report_clock_us(void) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

double report_mib(uint64_t bytes) {
        return (double)bytes / (1 << 20);
}

static double percent(uint64_t part, uint64_t whole) {
        return whole ? 100.0 * (double)part / (double)whole : 0;
}

static void report_print_run(
        FILE *out, const struct report *report, unsigned workers, unsigned restarts) {
        double seconds = (double)report->elapsed_us / 1e6;
        fprintf(out,
                "files      %" PRIu64 " done, %" PRIu64 " unreadable; skipped: %" PRIu64
                " links, %" PRIu64 " special files\n",
                report->files, report->unreadable, report->links, report->specials);
        fprintf(out, "bytes      %.1f MiB read, %.1f MiB compressed (%.1f %%)\n",
                report_mib(report->bytes), report_mib(report->compressed_bytes),
                percent(report->compressed_bytes, report->bytes));
        fprintf(out, "rate       %.1f MiB/s, %.0f files/s, %.1f s in all\n",
                report_mib(report->bytes) / seconds, (double)report->files / seconds, seconds);
        fprintf(out, "ranges     %" PRIu64 " granted\n", report->ranges);
        fprintf(out, "waits      %" PRIu64 " for memory, %.1f s in all\n", report->waits,
                (double)report->waited_us / 1e6);
        fprintf(out, "peak       %.1f of %.1f MiB of the pool (%.0f %%)\n",
                report_mib(report->peak_bytes), report_mib(report->pool_bytes),
                percent(report->peak_bytes, report->pool_bytes));
        fprintf(out,
                "workers    %u, %u lost and replaced; %" PRIu64 " files done again, %" PRIu64
                " of them read again\n",
                workers, restarts, report->repeats, report->rereads);
}

int report_print(
        FILE *out, const struct report *report, const struct options *options, unsigned restarts) {
        report_print_run(out, report, options->workers, restarts);
        struct buddyclient *client;
        int result = pool_connect(options, "pipeline", true, &client);
        if (result)
                return result;
        struct buddyclient_stats stats = {.struct_size = sizeof(stats)};
        result = buddyclient_stats(client, &stats);
        if (result)
                pool_complain("cannot ask the pool how it is", client, result);
        else
                fprintf(out,
                        "pool now   held_bytes %" PRIu64 ", cached_bytes %" PRIu64
                        ", free_bytes %" PRIu64 ", largest_free_bytes %" PRIu64 "\n",
                        stats.held_bytes, stats.cached_bytes, stats.free_bytes,
                        stats.largest_free_bytes);
        buddyclient_destroy(client);
        return result;
}
