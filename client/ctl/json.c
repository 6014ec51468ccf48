/* Commas and brackets; escapes. */
#include "json.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "printable.h"

static void json_key(struct json *json, const char *key) {
        if (json->comma_due)
                fputc(',', json->out);
        if (key)
                fprintf(json->out, "\"%s\":", key);
        json->comma_due = true;
}

static void json_open(struct json *json, const char *key, char bracket) {
        json_key(json, key);
        fputc(bracket, json->out);
        json->comma_due = false;
}

static void json_close(struct json *json, char bracket) {
        fputc(bracket, json->out);
        json->comma_due = true;
}

void json_begin_object(struct json *json, const char *key) {
        json_open(json, key, '{');
}

void json_end_object(struct json *json) {
        json_close(json, '}');
}

void json_begin_array(struct json *json, const char *key) {
        json_open(json, key, '[');
}

void json_end_array(struct json *json) {
        json_close(json, ']');
}

static void json_character(FILE *out, uint32_t point) {
        if (point == '"' || point == '\\')
                fprintf(out, "\\%c", (char)point);
        else if (point >= 0x20 && point < 0x7f)
                fputc((int)point, out);
        else if (point < 0x10000)
                fprintf(out, "\\u%04" PRIx32, point);
        else
                fprintf(out, "\\u%04" PRIx32 "\\u%04" PRIx32, 0xd800 + ((point - 0x10000) >> 10),
                        0xdc00 + ((point - 0x10000) & 0x3ff));
}

void json_text(struct json *json, const char *key, const char *value) {
        json_key(json, key);
        fputc('"', json->out);
        size_t length = strlen(value);
        for (size_t i = 0; i < length;) {
                uint32_t point = 0;
                size_t count = printable_decode(value + i, length - i, &point);
                json_character(json->out, count > 0 ? point : 0xfffd);
                i += count > 0 ? count : 1;
        }
        fputc('"', json->out);
}

void json_integer(struct json *json, const char *key, uint64_t value) {
        json_key(json, key);
        fprintf(json->out, "%" PRIu64, value);
}

void json_number(struct json *json, const char *key, double value) {
        json_key(json, key);
        if (isfinite(value))
                fprintf(json->out, "%.9g", value);
        else
                fputs("null", json->out);
}

void json_figure(struct json *json, const char *key, const char *digits) {
        json_key(json, key);
        fputs(digits, json->out);
}

void json_bool(struct json *json, const char *key, bool value) {
        json_key(json, key);
        fputs(value ? "true" : "false", json->out);
}

void json_end_document(struct json *json) {
        fputc('\n', json->out);
        json->comma_due = false;
}
