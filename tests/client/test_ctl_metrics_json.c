/* Metrics as JSON: of what a daemon sends, and of what only something else sends. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/ctl/metrics_json.h"

static int result;

static char *written(const char *text) {
        struct metrics_text metrics = {.bytes = strdup(text), .length = strlen(text)};
        char *json = NULL;
        size_t size = 0;
        FILE *out = open_memstream(&json, &size);
        result = metrics_json_write(out, &metrics);
        fclose(out);
        free(metrics.bytes);
        return json;
}

static void expect_written(const char *text, const char *expected) {
        char *json = written(text);
        cr_expect_eq(result, 0, "%s", text);
        cr_expect_str_eq(json, expected);
        free(json);
}

Test(ctl_metrics_json, samples_keep_labels_and_every_digit) {
        expect_written("# HELP a b\na 1\na_total{pool=\"p\",le=\"0.5\"} 1795744322.921\n# EOF\n",
                "{\"samples\":[{\"name\":\"a\",\"labels\":{},\"value\":1},{\"name\":\"a_total\","
                "\"labels\":{\"pool\":\"p\",\"le\":\"0.5\"},\"value\":1795744322.921}]}\n");
        expect_written("a{b=\"x\\\"y\\\\z\\n\\\\n\"} -2.5e-06\n",
                "{\"samples\":[{\"name\":\"a\",\"labels\":{\"b\":\"x\\\"y\\\\z\\u000a\\\\n\"},"
                "\"value\":-2."
                "5e-"
                "06}]}\n");
        expect_written(
                "a +Inf\n", "{\"samples\":[{\"name\":\"a\",\"labels\":{},\"value\":null}]}\n");
        expect_written("", "{\"samples\":[]}\n");
}

Test(ctl_metrics_json, anything_else_is_a_fault) {
        static const char *const wrong[] = {"a 1", "a\n", "a \n", "a x\n", "a 1 2\n", "a{ 1\n",
                "a{b} 1\n", "a{b=c} 1\n", "a{b=\"c} 1\n", "a{b=\"c\\", "a{b=\"c\\\n",
                "a{b=\"c\"}1\n", "{} 1\n", "a{b=\"c\"\n", "a\"b 1\n", "a{b\"c=\"d\"} 1\n",
                "a 0x1\n"};
        for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
                free(written(wrong[i]));
                cr_expect_eq(result, -EPROTO, "%s", wrong[i]);
        }
}
