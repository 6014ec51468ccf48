/* Text of others on its way out: to a terminal, and into JSON. */
#include <criterion/criterion.h>
#include <locale.h>
#include <math.h>
#include <string.h>

#include "client/ctl/json.h"
#include "client/ctl/printable.h"

static void expect_printed(const char *text, const char *expected) {
        char *printed = printable_text(text);
        cr_assert_not_null(printed);
        cr_expect_str_eq(printed, expected);
        free(printed);
}

Test(ctl_text, escapes_whatever_steers_a_terminal) {
        cr_assert_not_null(setlocale(LC_CTYPE, "C.UTF-8"));
        expect_printed("reader 1", "reader 1");
        expect_printed("\033[2Jx\n\r\t", "\\x1b[2Jx\\x0a\\x0d\\x09");
        expect_printed("\x7f", "\\x7f");
        expect_printed("gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f");
        expect_printed("\xf0\x9f\x90\x99", "\xf0\x9f\x90\x99");
        expect_printed("\xc2\x9b"
                       "31m",
                "\\xc2\\x9b"
                "31m"); /* a C1 control sequence introducer */
        expect_printed("\xe2\x80\xae"
                       "x",
                "\\xe2\\x80\\xae"
                "x");                                      /* right to left from here */
        expect_printed("\xe2\x80\xa8", "\\xe2\\x80\\xa8"); /* line separator */
        expect_printed("", "");
}

Test(ctl_text, escapes_what_is_not_utf8) {
        cr_assert_not_null(setlocale(LC_CTYPE, "C.UTF-8"));
        expect_printed("\xff", "\\xff");
        expect_printed("\xc3", "\\xc3");
        expect_printed("\xc0\x8a", "\\xc0\\x8a"); /* a line feed, overlong */
        expect_printed("\xe0\x80\x8a", "\\xe0\\x80\\x8a");
        expect_printed("\xed\xa0\x80", "\\xed\\xa0\\x80"); /* half a surrogate pair */
        expect_printed("\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80");
        expect_printed("a\xe2\x82", "a\\xe2\\x82");
}

Test(ctl_text, is_ascii_in_the_c_locale) {
        cr_assert_not_null(setlocale(LC_CTYPE, "C"));
        expect_printed("gr\xc3\xbc", "gr\\xc3\\xbc");
}

static void expect_json_text(const char *value, const char *expected) {
        char *text = NULL;
        size_t size = 0;
        struct json json = {.out = open_memstream(&text, &size)};
        json_text(&json, NULL, value);
        fclose(json.out);
        cr_expect_str_eq(text, expected);
        free(text);
}

Test(ctl_text, json_escapes_everything_but_printable_ascii) {
        expect_json_text("na\"me \\ of/mine", "\"na\\\"me \\\\ of/mine\"");
        expect_json_text("\x01\n\x1f\x7f", "\"\\u0001\\u000a\\u001f\\u007f\"");
        expect_json_text("\xc3\xbc", "\"\\u00fc\"");
        expect_json_text("\xf0\x9f\x90\x99", "\"\\ud83d\\udc19\"");
        expect_json_text("\xef\xbf\xbf", "\"\\uffff\"");
        expect_json_text("a\xff\xc3", "\"a\\ufffd\\ufffd\"");
}

Test(ctl_text, json_nests_and_types) {
        char *text = NULL;
        size_t size = 0;
        struct json json = {.out = open_memstream(&text, &size)};
        for (int document = 0; document < 2; document++) {
                json_begin_object(&json, NULL);
                json_integer(&json, "i", UINT64_MAX);
                json_begin_array(&json, "empty");
                json_end_array(&json);
                json_begin_array(&json, "list");
                json_begin_object(&json, NULL);
                json_end_object(&json);
                json_number(&json, NULL, 0.5);
                json_number(&json, NULL, NAN);
                json_number(&json, NULL, -1);
                json_end_array(&json);
                json_bool(&json, "b", true);
                json_end_object(&json);
                json_end_document(&json);
        }
        fclose(json.out);
        const char *one =
                "{\"i\":18446744073709551615,\"empty\":[],\"list\":[{},0.5,null,-1],\"b\":true}\n";
        cr_expect_eq(strncmp(text, one, strlen(one)), 0, "%s", text);
        cr_expect_str_eq(text + strlen(one), one);
        free(text);
}
