/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * rate.c - events that a guest can cause at will: at most one a second for each name and key.
 *
 * The first event passes at once. What comes within the second after it is kept, a newer one in the
 * place of an older, and passes when the second is over. Since every entry waits for the same time,
 * the queue in order of sending is in order of falling due as well. An entry whose second passed in
 * silence is dropped, so that memory is bounded by the events of one second.
 */
#include <string.h>

#include "internal.h"

typedef struct {
    char *key;
    char *pending; /* the latest event held back, or NULL */
    gint64 sent;   /* monotonic time of the last one sent, us */
} Rate;

struct QmpRates {
    GHashTable *by_key;
    GQueue order; /* Rate *, by time sent */
};

static void rate_free(gpointer data)
{
    Rate *r = data;

    g_free(r->key);
    g_free(r->pending);
    g_free(r);
}

QmpRates *qmp_rates_new(void)
{
    QmpRates *rates = g_new0(QmpRates, 1);

    rates->by_key = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, rate_free);
    return rates;
}

void qmp_rates_free(QmpRates *rates)
{
    g_queue_clear(&rates->order);
    g_hash_table_unref(rates->by_key);
    g_free(rates);
}

gboolean qmp_rates_pass(QmpRates *rates, const char *name, const char *key, gint64 now, char **text)
{
    g_autofree char *full = g_strdup_printf("%s %s", name, key);
    Rate *r = g_hash_table_lookup(rates->by_key, full);

    if (r) {
        g_free(r->pending);
        r->pending = g_steal_pointer(text);
        return FALSE;
    }
    r = g_new0(Rate, 1);
    r->key = g_steal_pointer(&full);
    r->sent = now;
    g_hash_table_insert(rates->by_key, r->key, r);
    g_queue_push_tail(&rates->order, r);
    return TRUE;
}

char *qmp_rates_due(QmpRates *rates, gint64 now)
{
    Rate *r;

    while ((r = g_queue_peek_head(&rates->order)) && r->sent + G_USEC_PER_SEC <= now) {
        g_queue_pop_head(&rates->order);
        if (r->pending) {
            r->sent = now;
            g_queue_push_tail(&rates->order, r);
            return g_steal_pointer(&r->pending);
        }
        g_hash_table_remove(rates->by_key, r->key);
    }
    return NULL;
}

gint64 qmp_rates_next(const QmpRates *rates)
{
    const Rate *r = rates->order.head ? rates->order.head->data : NULL;

    return r ? r->sent + G_USEC_PER_SEC : -1;
}
