/* What a client writes into the memory of its cache about ranges that it does not hold is nobody's business but its own. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "harness.h"
#include "proto/cache_area.h"

TestSuite(cache_forged, .timeout = 60);

/* The only one in this process, so far. */
static struct cache_area *area_find(void) {
        char line[512];
        unsigned long begin = 0, end;
        FILE *maps = fopen("/proc/self/maps", "re");
        cr_assert_not_null(maps);
        while (fgets(line, sizeof line, maps) && begin == 0)
                if (strstr(line, "memfd:" CACHE_AREA_NAME))
                        sscanf(line, "%lx-%lx", &begin, &end);
        fclose(maps);
        cr_assert_neq(begin, 0, "no area");
        return (struct cache_area *)begin;
}

/* The name of another use in the liar's memory, a give in vain and an attach under that name: the right name stays right. */
Test(cache_forged, a_name_does_not_count_for_what_is_held_by_others) {
        struct scene scene;
        struct buddyclient_range range;
        scene_open(&scene);
        scene_start(&scene, "--size", "64M", NULL);
        struct buddyclient *liar = client_caching(&scene);
        struct cache_area *area = area_find();
        struct buddyclient *owner = client_caching(&scene), *other = client_new(&scene);
        cr_assert_eq(buddyclient_alloc(owner, SCENE_PAGE, &range), 0);

        struct buddyclient_range forged = range;
        forged.generation = UINT64_C(5) << 32 | (uint32_t)range.generation;
        atomic_store(cache_word(area, (uint32_t)(range.offset / SCENE_PAGE)),
                cache_word_pack(forged.generation, 0) | CACHE_IN_USE | CACHE_SHARED);
        cr_assert_eq(buddyclient_give(liar, &forged, buddyclient_id(other)), -ESTALE);
        cr_assert_eq(buddyclient_attach(liar, &forged), -ESTALE);
        cr_assert_eq(buddyclient_attach(other, &range), 0, "%s", buddyclient_detail(other));
        cr_assert_eq(buddyclient_release(other, &range), 0);
        cr_assert_eq(buddyclient_release(owner, &range), 0);
        expect_sound(&scene);
        buddyclient_destroy(liar);
        buddyclient_destroy(owner);
        buddyclient_destroy(other);
        scene_close(&scene);
}
