/* Words of argv to an invocation, one at a time; then whether they fit together. */
#include "arguments.h"

#include <string.h>

#include "complain.h"

#define POOL_CHARACTERS_MAX 48

struct cursor {
        int argc;
        char *const *argv;
        int next;
};

static enum option_id option_find(const char *name, size_t length) {
        for (enum option_id id = 0; id < OPTION_COUNT; id++)
                if (strlen(options[id].name) == length &&
                        memcmp(options[id].name, name, length) == 0)
                        return id;
        return OPTION_COUNT;
}

/* What stands behind "--": NAME or NAME=VALUE. */
static enum option_id option_long(const char *text, const char **value) {
        size_t length = strcspn(text, "=");
        if (text[length] == '=')
                *value = text + length + 1;
        return option_find(text, length);
}

/* What stands behind "-": a letter, and its value at once, if it takes one. */
static enum option_id option_short(const char *text, const char **value) {
        for (enum option_id id = 0; id < OPTION_COUNT; id++) {
                if (options[id].letter == '\0' || options[id].letter != text[0])
                        continue;
                if (text[1] == '\0')
                        return id;
                if (!options[id].placeholder)
                        return OPTION_COUNT;
                *value = text + 1;
                return id;
        }
        return OPTION_COUNT;
}

/* Takes the option in word, and its argument from the next word if that is where it is. */
static enum exit_status option_take(
        struct cursor *cursor, const char *word, struct invocation *out) {
        const char *value = NULL;
        enum option_id id =
                word[1] == '-' ? option_long(word + 2, &value) : option_short(word + 1, &value);

        if (id == OPTION_COUNT)
                return complain(EXIT_USAGE, "unknown option \"%s\"; see buddyctl --help", word);
        if (!options[id].placeholder) {
                if (value)
                        return complain(EXIT_USAGE, "--%s takes no argument; leave \"=%s\" out",
                                options[id].name, value);
                out->values[id] = "";
                return EXIT_DONE;
        }
        if (!value && options[id].placeholder[0] == '[') {
                out->values[id] = "";
                return EXIT_DONE;
        }
        if (!value && cursor->next < cursor->argc)
                value = cursor->argv[cursor->next++];
        if (!value || value[0] == '\0')
                return complain(EXIT_USAGE, "--%s needs %s; see buddyctl --help", options[id].name,
                        options[id].placeholder);
        if (id == OPTION_SET && out->values[id])
                return complain(EXIT_USAGE, "--%s is given twice; set one limit at a time",
                        options[id].name);
        out->values[id] = value;
        if (id != OPTION_MAX_UNUSABLE)
                return EXIT_DONE;
        if (out->limit_count == INVOCATION_LIMITS_MAX)
                return complain(EXIT_USAGE, "--%s is given more than %d times; give fewer",
                        options[id].name, INVOCATION_LIMITS_MAX);
        out->limits[out->limit_count++] = value;
        return EXIT_DONE;
}

static enum exit_status operand_take(const char *word, struct invocation *out) {
        if (!out->command) {
                out->command = command_find(word);
                if (!out->command)
                        return complain(
                                EXIT_USAGE, "unknown command \"%s\"; see buddyctl --help", word);
                return EXIT_DONE;
        }
        if (!out->command->operand || out->operand)
                return complain(EXIT_USAGE,
                        "%s: unexpected argument \"%s\"; see buddyctl %s --help",
                        out->command->name, word, out->command->name);
        out->operand = word;
        return EXIT_DONE;
}

static enum exit_status pool_judge(const char *pool) {
        if (!pool || strlen(pool) <= POOL_CHARACTERS_MAX)
                return EXIT_DONE;
        return complain(EXIT_USAGE,
                "--pool: the name has %zu characters and %d is the limit; give a shorter one",
                strlen(pool), POOL_CHARACTERS_MAX);
}

/* An operand that is a pool stands for --pool. */
static enum exit_status operand_pool_take(struct invocation *invocation) {
        const struct command *command = invocation->command;
        if (!command || !command->operand || strcmp(command->operand, OPERAND_POOL) != 0 ||
                !invocation->operand)
                return EXIT_DONE;
        if (invocation->values[OPTION_POOL])
                return complain(EXIT_USAGE,
                        "%s: the pool is named twice; leave out --pool or \"%s\"", command->name,
                        invocation->operand);
        invocation->values[OPTION_POOL] = invocation->operand;
        return EXIT_DONE;
}

/* Whether the parts, each fine alone, make one invocation. */
static enum exit_status invocation_judge(const struct invocation *invocation) {
        const struct command *command = invocation->command;
        if (invocation_has(invocation, OPTION_HELP) || invocation_has(invocation, OPTION_VERSION))
                return EXIT_DONE;
        if (!command)
                return complain(EXIT_USAGE, "no command is given; see buddyctl --help");
        for (enum option_id id = 0; id < OPTION_COUNT; id++)
                if (invocation_has(invocation, id) && !command_takes(command, id))
                        return complain(EXIT_USAGE, "%s takes no --%s; see buddyctl %s --help",
                                command->name, options[id].name, command->name);
        if (command->operand && command->operand[0] != '[' && !invocation->operand)
                return complain(EXIT_USAGE, "%s needs %s; see buddyctl %s --help", command->name,
                        command->operand, command->name);
        return pool_judge(invocation->values[OPTION_POOL]);
}

enum exit_status arguments_parse(int argc, char *const argv[], struct invocation *out) {
        struct invocation invocation = {0};
        struct cursor cursor = {.argc = argc, .argv = argv, .next = 1};
        bool options_ended = false;

        while (cursor.next < argc) {
                const char *word = argv[cursor.next++];
                enum exit_status status;
                if (!options_ended && strcmp(word, "--") == 0) {
                        options_ended = true;
                        continue;
                }
                if (!options_ended && word[0] == '-' && word[1] != '\0')
                        status = option_take(&cursor, word, &invocation);
                else
                        status = operand_take(word, &invocation);
                if (status != EXIT_DONE)
                        return status;
        }
        enum exit_status status = operand_pool_take(&invocation);
        if (status == EXIT_DONE)
                status = invocation_judge(&invocation);
        if (status == EXIT_DONE)
                *out = invocation;
        return status;
}
