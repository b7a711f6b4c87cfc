/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fuzz-slirp-settings.c - libFuzzer target for the words of a `netdev-user`: one a line. What is refused has a message; what is
 * accepted fits together, and its forwards read the same again.
 */
#include <string.h>

#include "common/error.h"
#include "devices/backend/slirp-settings.h"

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size);

static void check_forward(const SlirpForward *f)
{
    g_autofree char *text = slirp_forward_text(f);
    SlirpForward again;

    g_assert_true(slirp_forward_parse(text, &again, NULL));
    g_assert_true(f->udp == again.udp && f->host_port == again.host_port && f->guest_port == again.guest_port);
    g_assert_true(f->host_addr.s_addr == again.host_addr.s_addr && f->guest_addr.s_addr == again.guest_addr.s_addr);
}

static void check_settings(const SlirpSettings *s)
{
    g_assert_cmphex(s->host.s_addr & s->mask.s_addr, ==, s->net.s_addr);
    g_assert_cmphex(s->dns.s_addr & s->mask.s_addr, ==, s->net.s_addr);
    g_assert_cmphex(s->dhcp_start.s_addr & s->mask.s_addr, ==, s->net.s_addr);
    g_assert_true(s->host.s_addr != s->dns.s_addr && s->host.s_addr != s->dhcp_start.s_addr);
    for (guint i = 0; i < s->forwards->len; i++)
        check_forward(&g_array_index(s->forwards, SlirpForward, i));
}

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size)
{
    g_autofree char *text = g_strndup((const char *)data, size);
    g_auto(GStrv) lines = g_strsplit(text, "\n", 9);
    g_auto(SlirpSettings) s = { 0 };
    g_autoptr(GError) error = NULL;
    const char *word[9] = { NULL };

    for (guint i = 0; lines[i]; i++)
        word[i] = *lines[i] ? lines[i] : NULL;
    SlirpWords words = {
        .net = word[0] ? word[0] : "10.0.2.0/24",
        .host = word[1],
        .dns = word[2],
        .dhcpstart = word[3],
        .hostfwd = word[4],
        .dnssearch = word[5],
        .ipv6_prefix = word[6] ? word[6] : "fec0::",
        .ipv6_prefixlen = (guint8)(size % 127),
        .ipv6_host = word[7],
        .ipv6_dns = word[8],
    };

    if (slirp_settings_parse("n", &words, &s, &error))
        check_settings(&s);
    else
        g_assert_true(error && g_utf8_validate(error->message, -1, NULL));
    return 0;
}
