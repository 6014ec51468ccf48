/* The config file. libinih splits the lines into keys and values; what it would silently cut, join or
 * skip (long lines, long or empty sections, indented lines, zero bytes) is looked at here before it
 * gets to see a line. */
#include <assert.h>
#include <errno.h>
#include <ini.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "settings_source.h"

#define SECTION_KEYS_MAX 48 /* more than any section has */

struct config_reader {
        FILE *file;
        unsigned line;
        char *text; /* the line that was read last; owned */
        size_t text_bytes;
        struct settings_source *source;
        enum setting_scope scope; /* of the section that the line is in; 0: none yet */
        bool daemon_section_seen;
        struct {
                const struct setting_key *key;
                unsigned line;
        } seen[SECTION_KEYS_MAX]; /* in this section */
        size_t seen_count;
        int read_error;      /* errno of a read that failed, or ENOMEM */
        unsigned fault_line; /* 0: none */
        char fault[SOURCE_FAULT_BYTES + 128];
};

static void config_refuse(struct config_reader *reader, const char *format, ...)
        __attribute__((format(printf, 2, 3)));

static void config_refuse(struct config_reader *reader, const char *format, ...) {
        if (reader->fault_line)
                return;
        reader->fault_line = reader->line ? reader->line : 1;
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(reader->fault, sizeof(reader->fault), format, arguments);
        va_end(arguments);
}

/* Nothing is read any more. */
static void config_refuse_memory(struct config_reader *reader) {
        reader->read_error = ENOMEM;
        config_refuse(reader, "out of memory");
}

static void config_begin_pool(struct config_reader *reader, const char *name) {
        char fault[SOURCE_FAULT_BYTES];
        if (!pool_name_check(name, fault)) {
                config_refuse(reader, "%s", fault);
                return;
        }
        const struct pool_source *earlier = settings_source_find(reader->source, name);
        if (earlier) {
                config_refuse(reader,
                        "pool '%s' is already in line %u; join the two sections, or rename one",
                        name, earlier->line);
                return;
        }
        if (!settings_source_add(reader->source, name, reader->line))
                config_refuse_memory(reader);
        else
                reader->scope = SETTING_POOL;
}

static void config_begin_section(struct config_reader *reader, const char *line) {
        const char *end = strchr(line, ']');
        const char *rest = end ? end + 1 + strspn(end + 1, " \t\r\n") : "";
        if (!end || (*rest && *rest != ';' && *rest != '#')) {
                config_refuse(reader, "a section is a line of its own in brackets; write [buddyd] "
                                      "or [pool NAME]");
                return;
        }
        char name[256];
        reader->seen_count = 0;
        snprintf(name, sizeof(name), "%.*s", (int)(end - line - 1), line + 1);
        if (strcmp(name, "buddyd") == 0) {
                if (reader->daemon_section_seen)
                        config_refuse(
                                reader, "[buddyd] is in this file twice; join the two sections");
                reader->daemon_section_seen = true;
                reader->scope = SETTING_DAEMON;
        } else if (strncmp(name, "pool ", 5) == 0) {
                config_begin_pool(reader, name + 5 + strspn(name + 5, " \t"));
        } else {
                config_refuse(
                        reader, "there is no section [%.64s]; write [buddyd] or [pool NAME]", name);
        }
}

/* Called by libinih for each line, in the manner of fgets. */
static char *config_next_line(char *buffer, int buffer_bytes, void *context) {
        struct config_reader *reader = context;
        if (reader->fault_line)
                return NULL;
        ssize_t length = getline(&reader->text, &reader->text_bytes, reader->file);
        if (length < 0) {
                reader->read_error = feof(reader->file) ? 0 : errno;
                return NULL;
        }
        reader->line++;
        char *line = reader->text;
        if (strlen(line) != (size_t)length) {
                config_refuse(reader, "a zero byte in a text file; remove it");
                return NULL;
        }
        if (reader->line == 1 && strncmp(line, "\xEF\xBB\xBF", 3) == 0)
                line += 3;
        line += strspn(
                line, " \t\r\n\f\v"); /* an indented line is not the last one's continuation */
        if (*line == '#' || *line == ';')
                line = "";
        else if (*line == '[') {
                config_begin_section(reader, line);
                line = "";
        }
        if (strlen(line) + 3 > (size_t)buffer_bytes) {
                config_refuse(reader, "the line is longer than %d characters; shorten it",
                        buffer_bytes - 3);
                return NULL;
        }
        return strcpy(buffer, *line ? line : "\n");
}

/* The line in which this section has the key already; 0: it has it now. */
static unsigned config_key_before(struct config_reader *reader, const struct setting_key *key) {
        for (size_t i = 0; i < reader->seen_count; i++) {
                if (reader->seen[i].key == key)
                        return reader->seen[i].line;
        }
        assert(reader->seen_count < SECTION_KEYS_MAX);
        reader->seen[reader->seen_count].key = key;
        reader->seen[reader->seen_count++].line = reader->line;
        return 0;
}

static void config_refuse_value(struct config_reader *reader, const char *name, const char *fault) {
        if (*fault)
                config_refuse(reader, "%s: %s", name, fault);
        else
                config_refuse_memory(reader);
}

/* Called by libinih for each key; false makes it remember the line, which is done here already. */
static int config_take(void *context, const char *section, const char *name, const char *value) {
        (void)section;
        struct config_reader *reader = context;
        if (!reader->scope) {
                config_refuse(reader,
                        "'%.64s' is before the first section; put [buddyd] or [pool NAME] above it",
                        name);
                return 1;
        }
        const struct setting_key *key = setting_key_find(name, reader->scope);
        if (!key) {
                char list[480];
                setting_key_list(reader->scope, list, sizeof(list));
                config_refuse(reader, "there is no key '%.64s' in %s; there are %s", name,
                        reader->scope == SETTING_POOL ? "a pool's section" : "[buddyd]", list);
                return 1;
        }
        unsigned before = config_key_before(reader, key);
        if (before) {
                config_refuse(reader, "'%s' is already in line %u of this section; remove one",
                        name, before);
                return 1;
        }
        if (strstr(value, " #") || strstr(value, "\t#")) {
                config_refuse(reader,
                        "a value with a comment behind it; put the comment on a line of its own");
                return 1;
        }
        struct pool_source *pool = NULL;
        if (reader->scope == SETTING_POOL)
                pool = &reader->source->pools[reader->source->pool_count - 1];
        char fault[SOURCE_FAULT_BYTES];
        if (!key->parse(reader->source, pool, value, fault))
                config_refuse_value(reader, name, fault);
        return 1;
}

static void config_parse(struct config_reader *reader) {
        int result = ini_parse_stream(config_next_line, reader, config_take, reader);
        if (result > 0 && (!reader->fault_line || (unsigned)result < reader->fault_line)) {
                reader->fault_line = 0;
                reader->line = (unsigned)result;
                config_refuse(
                        reader, "neither a section nor a key with a value; write key = value");
        } else if (result < 0) {
                config_refuse_memory(reader);
        }
}

/* Whether it is not the file that is to blame. */
static bool system_has_none(int error) {
        return error == ENOMEM || error == EMFILE || error == ENFILE;
}

static int config_refuse_file(const char *path, int error) {
        const char *mend = system_has_none(error) ? "free some, and start again"
                                                  : "give --config a file that can be read";
        log_error("%s: %s; %s", path, strerror(error), mend);
        return system_has_none(error) ? -error : -EINVAL;
}

int config_read(const char *path, struct settings_source *out) {
        FILE *file = fopen(path, "re");
        if (!file)
                return config_refuse_file(path, errno);
        struct settings_source source = {0};
        struct config_reader reader = {.file = file, .source = &source};
        config_parse(&reader);
        fclose(file);
        free(reader.text);
        int error = 0;
        if (reader.read_error) {
                error = config_refuse_file(path, reader.read_error);
        } else if (reader.fault_line) {
                log_error("%s:%u: %s", path, reader.fault_line, reader.fault);
                error = -EINVAL;
        }
        if (error) {
                settings_source_deinit(&source);
                return error;
        }
        *out = source;
        return 0;
}
