#include <criterion/criterion.h>
#include <string.h>

#include "proto/arena.h"

Test(arena, aligns_and_separates) {
        struct arena arena;
        cr_assert_eq(arena_init(&arena, 1024), 0);
        uint8_t *a = arena_alloc(&arena, 1), *b = arena_alloc(&arena, 17),
                *c = arena_alloc(&arena, 16);
        cr_assert_eq((uintptr_t)a % 16, 0);
        cr_assert_eq(b - a, 16);
        cr_assert_eq(c - b, 32);
        memset(b, 0xaa, 17);
        cr_assert_eq(arena.used, 64);
        arena_deinit(&arena);
}

Test(arena, fails_closed_and_recovers_by_reset) {
        struct arena arena;
        cr_assert_eq(arena_init(&arena, 64), 0);
        cr_assert_not_null(arena_alloc(&arena, 48));
        cr_assert_null(arena_alloc(&arena, 17));
        cr_assert_eq(arena.used, 48);
        cr_assert_not_null(arena_alloc(&arena, 16));
        cr_assert_null(arena_alloc(&arena, 1));
        arena_reset(&arena);
        cr_assert_not_null(arena_alloc(&arena, 64));
        arena_deinit(&arena);
}

Test(arena, survives_absurd_sizes) {
        struct arena arena;
        cr_assert_eq(arena_init(&arena, 64), 0);
        for (size_t less = 0; less < 40; less++)
                cr_assert_null(arena_alloc(&arena, SIZE_MAX - less));
        cr_assert_eq(arena.used, 0);
        arena_deinit(&arena);
}

Test(arena, of_no_size_grants_nothing) {
        struct arena arena;
        cr_assert_eq(arena_init(&arena, 0), 0);
        cr_assert_null(arena_alloc(&arena, 1));
        arena_deinit(&arena);
        cr_assert_null(arena.bytes);
}
