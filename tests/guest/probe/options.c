/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The words of the command line and of interactive lines; README.md lists them. On the command
 * line only `probe=` chooses sections: loaders put the image's file name and words of their own
 * there. In an interactive line a section's name alone, or in front of `=`, chooses it as well.
 */
#include "probe.h"

struct options options;

#define SECTION_NAME(name) #name,
const char *const section_names[SECTION_COUNT] = {SECTION_LIST(SECTION_NAME)};

void options_defaults(void)
{
    options = (struct options){
        .sections = (1u << SECTION_COUNT) - 1 - (1u << SECTION_wait) - (1u << SECTION_serve),
        .work = 1000,
        .cpuhp_timeout = 60,
        .end = "poweroff",
    };
}

/* The next word of *line in word; false at the end of the line. */
static bool next_word(const char **line, char *word, size_t size)
{
    size_t n = 0;

    while (**line == ' ' || **line == '\t') {
        ++*line;
    }
    for (; **line && **line != ' ' && **line != '\t'; ++*line) {
        if (n + 1 < size)
            word[n++] = **line;
    }
    word[n] = 0;
    return n > 0;
}

bool options_has_word(const char *line, const char *word)
{
    char w[80];

    while (next_word(&line, w, sizeof w)) {
        if (str_equal(w, word))
            return true;
    }
    return false;
}

/* stop: the character that may follow the name, besides the end. */
static bool select_section(const char *name, char stop)
{
    for (u32 i = 0; i < SECTION_COUNT; i++) {
        const char *rest = str_after(name, section_names[i]);
        if (rest && (!*rest || *rest == stop)) {
            options.sections |= 1u << i;
            return true;
        }
    }
    return false;
}

static void select_list(const char *list)
{
    while (*list) {
        select_section(list, ',');
        while (*list && *list++ != ',') {
        }
    }
}

static void parse_word(const char *w)
{
    const char *v;

    if ((v = str_after(w, "probe="))) {
        options.sections &= 1u << SECTION_serve; /* a word of its own */
        select_list(v);
    } else if ((v = str_after(w, "end="))) {
        str_copy(options.end, v, sizeof options.end);
    } else if ((v = str_after(w, "work="))) {
        options.work = (u32)str_number(v, NULL);
    } else if ((v = str_after(w, "serial="))) {
        options.serial_base = (u16)str_number(v, NULL);
    } else if ((v = str_after(w, "cpuhp=wait:"))) {
        options.cpuhp_wait = (u32)str_number(v, NULL);
    } else if ((v = str_after(w, "timeout="))) {
        options.cpuhp_timeout = (u32)str_number(v, NULL);
    } else if (str_equal(w, "pci=full")) {
        options.pci_full = true;
    } else if (str_equal(w, "apic=x2")) {
        options.x2apic = true;
    } else if (str_equal(w, "sci")) {
        options.sci = true;
    } else if (str_equal(w, "slots=intx")) {
        options.slot_intx = true;
    } else if (str_equal(w, "serve")) {
        options.sections |= 1u << SECTION_serve;
    }
}

void options_parse(const char *line, bool interactive)
{
    char w[256];
    bool after_end = false, after_probe = false;

    /* Sections, end and waiting are of one line; other choices stay until changed. */
    if (interactive) {
        options.sections = 0;
        options.end[0] = 0;
        options.cpuhp_wait = 0;
    }
    while (next_word(&line, w, sizeof w)) {
        if (interactive && after_end)
            str_copy(options.end, w, sizeof options.end);
        else if (interactive && after_probe)
            select_list(w);
        else if (interactive)
            select_section(w, '=');
        after_end = str_equal(w, "end");
        after_probe = str_equal(w, "probe");
        parse_word(w);
    }
}
