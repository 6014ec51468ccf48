/* Linux's two fragmentation indexes (mm/vmstat.c), over one look at the free sets. Pure arithmetic. */
#include "buddy.h"

/* Free pages in blocks of at least this order. */
static uint64_t usable_pages(const struct buddy_totals *totals, unsigned order) {
        uint64_t pages = 0;
        for (unsigned k = order; k < ORDER_COUNT; k++)
                pages += totals->free_blocks[k] << k;
        return pages;
}

double buddy_unusable_index(const struct buddy_totals *totals, unsigned order) {
        if (totals->free_pages == 0)
                return 0;
        uint64_t unusable = totals->free_pages - usable_pages(totals, order);
        return (double)unusable / (double)totals->free_pages;
}

double buddy_fragmentation_index(const struct buddy_totals *totals, unsigned order) {
        if (usable_pages(totals, order) > 0)
                return -1;
        uint64_t blocks = 0;
        for (unsigned k = 0; k < order && k < ORDER_COUNT; k++)
                blocks += totals->free_blocks[k];
        if (blocks == 0)
                return 0;
        double wanted = (double)totals->free_pages / (double)order_pages(order);
        double index = 1 - (1 + wanted) / (double)blocks;
        return index > 0 ? index : 0;
}
