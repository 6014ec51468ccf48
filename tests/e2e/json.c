#include "json.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct reader {
        const char *at;
        int depth;
};

/* Every allocation stays reachable from here, so that a leak checker has nothing to say. */
static struct kept {
        struct kept *next;
        char bytes[];
} * kept_first;

static void *kept_alloc(size_t size) {
        struct kept *kept = calloc(1, sizeof *kept + size);
        if (!kept)
                abort();
        kept->next = kept_first;
        kept_first = kept;
        return kept->bytes;
}

static struct json *value_read(struct reader *reader);

static void space_skip(struct reader *reader) {
        reader->at += strspn(reader->at, " \t\r\n");
}

static bool literal_take(struct reader *reader, const char *literal) {
        size_t length = strlen(literal);
        if (strncmp(reader->at, literal, length) != 0)
                return false;
        reader->at += length;
        return true;
}

/* The code unit of a \uXXXX escape as UTF-8; surrogates come out as '?'. */
static bool unicode_read(struct reader *reader, char **out) {
        unsigned code = 0;
        for (int digit = 0; digit < 4; digit++) {
                char byte = *reader->at++;
                if (!isxdigit((unsigned char)byte))
                        return false;
                code = code * 16 + (unsigned)(byte <= '9' ? byte - '0' : (byte | 32) - 'a' + 10);
        }
        if (code >= 0xd800 && code < 0xe000)
                code = '?';
        if (code >= 0x800)
                *(*out)++ = (char)(0xe0 | code >> 12);
        if (code >= 0x80)
                *(*out)++ = (char)(code >= 0x800 ? 0x80 | (code >> 6 & 0x3f) : 0xc0 | code >> 6);
        *(*out)++ = (char)(code >= 0x80 ? 0x80 | (code & 0x3f) : code);
        return true;
}

static bool escape_read(struct reader *reader, char **out) {
        static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
        char name = *reader->at++;
        const char *found = name ? strchr(names, name) : NULL;
        if (!found)
                return name == 'u' && unicode_read(reader, out);
        *(*out)++ = values[found - names];
        return true;
}

/* At least as many bytes as the value of the string that begins here. */
static size_t string_span(const char *at) {
        size_t length = 0;
        while (at[length] && at[length] != '"')
                length += at[length] == '\\' && at[length + 1] ? 2 : 1;
        return length;
}

static char *string_read(struct reader *reader) {
        if (!literal_take(reader, "\""))
                return NULL;
        char *text = kept_alloc(string_span(reader->at) + 1), *end = text;
        for (;;) {
                char byte = *reader->at++;
                if (byte == '"')
                        return text;
                if ((unsigned char)byte < 0x20)
                        return NULL;
                if (byte != '\\')
                        *end++ = byte;
                else if (!escape_read(reader, &end))
                        return NULL;
        }
}

static bool number_read(struct reader *reader, struct json *value) {
        const char *end = reader->at;
        end += *end == '-';
        if (!isdigit((unsigned char)*end) || (*end == '0' && isdigit((unsigned char)end[1])))
                return false;
        end += strspn(end, "0123456789");
        bool real = *end == '.' || *end == 'e' || *end == 'E';
        char *stop = NULL;
        value->number = strtod(reader->at, &stop);
        value->kind = real ? JSON_REAL : JSON_INTEGER;
        if (!real) {
                errno = 0;
                value->integer = (int64_t)strtoll(reader->at, NULL, 10);
                if (errno)
                        value->integer = (int64_t)strtoull(reader->at, NULL, 10);
        }
        reader->at = stop;
        return true;
}

static bool members_read(struct reader *reader, struct json *value, bool keyed, const char *end) {
        struct json **link = &value->first;
        space_skip(reader);
        if (literal_take(reader, end))
                return true;
        do {
                space_skip(reader);
                char *key = NULL;
                if (keyed) {
                        key = string_read(reader);
                        space_skip(reader);
                        if (!key || !literal_take(reader, ":"))
                                return false;
                }
                struct json *member = value_read(reader);
                if (!member)
                        return false;
                member->key = key;
                *link = member;
                link = &member->next;
                value->count++;
                space_skip(reader);
        } while (literal_take(reader, ","));
        return literal_take(reader, end);
}

static struct json *value_read(struct reader *reader) {
        struct json *value = kept_alloc(sizeof *value);
        bool good = false;
        if (++reader->depth > 32)
                return NULL;
        space_skip(reader);
        if (literal_take(reader, "null")) {
                good = true;
        } else if (literal_take(reader, "true") || literal_take(reader, "false")) {
                value->kind = JSON_BOOL;
                value->truth = reader->at[-2] == 'u';
                good = true;
        } else if (*reader->at == '"') {
                value->kind = JSON_STRING;
                value->text = string_read(reader);
                good = value->text != NULL;
        } else if (literal_take(reader, "[")) {
                value->kind = JSON_LIST;
                good = members_read(reader, value, false, "]");
        } else if (literal_take(reader, "{")) {
                value->kind = JSON_OBJECT;
                good = members_read(reader, value, true, "}");
        } else {
                good = number_read(reader, value);
        }
        reader->depth--;
        return good ? value : NULL;
}

const struct json *json_parse(const char *text, const char **rest) {
        struct reader reader = {.at = text};
        const struct json *value = value_read(&reader);
        if (!value)
                return NULL;
        space_skip(&reader);
        if (rest)
                *rest = reader.at;
        else if (*reader.at)
                return NULL;
        return value;
}

const struct json *json_member(const struct json *object, const char *key) {
        if (!object || object->kind != JSON_OBJECT)
                return NULL;
        for (const struct json *member = object->first; member; member = member->next)
                if (strcmp(member->key, key) == 0)
                        return member;
        return NULL;
}

const struct json *json_list_with(const struct json *document, const char *key) {
        if (!document)
                return NULL;
        if (document->kind == JSON_LIST)
                return json_member(document->first, key) ? document : NULL;
        if (document->kind != JSON_OBJECT)
                return NULL;
        for (const struct json *member = document->first; member; member = member->next)
                if (member->kind == JSON_LIST && json_member(member->first, key))
                        return member;
        return NULL;
}
