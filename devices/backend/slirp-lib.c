/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * slirp-lib.c - libslirp by its soname.
 *
 * The symbols are looked up by name with the types of the library's own header, so a wrong call does not compile.
 *
 * Each connection of a guest is a descriptor of ours. A guest that opens as many as it likes must not keep the daemon from
 * accepting its manager, so there is a bound, and room beyond it. The usual soft limit of 1024 descriptors is for
 * programs that use select(); we do not, and raise it.
 */
#include "slirp-lib.h"

#include <dlfcn.h>
#include <sys/resource.h>

#include "../../common/error.h"

enum { FLOWS_MAX = 4096, OTHERS = 512 };

static gboolean find(SlirpLib *lib, const char *name, void *pointer, GError **error)
{
    *(void **)pointer = dlsym(lib->library, name);
    return *(void **)pointer || error_set(error, "User networks need a newer libslirp: this one has no '%s'", name);
}

static gboolean open_library(SlirpLib *lib, GError **error)
{
    lib->library = dlopen("libslirp.so.0", RTLD_NOW | RTLD_LOCAL);
    if (!lib->library)
        return error_set(error, "User networks need libslirp (Debian: libslirp0), which can not be opened: %s", dlerror());
    return find(lib, "slirp_new", &lib->create, error) && find(lib, "slirp_cleanup", &lib->cleanup, error) &&
           find(lib, "slirp_pollfds_fill", &lib->pollfds_fill, error) &&
           find(lib, "slirp_pollfds_poll", &lib->pollfds_poll, error) && find(lib, "slirp_input", &lib->input, error) &&
           find(lib, "slirp_add_hostfwd", &lib->add_hostfwd, error) &&
           find(lib, "slirp_remove_hostfwd", &lib->remove_hostfwd, error);
}

static guint bound_flows(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return OTHERS;
    if (limit.rlim_cur < FLOWS_MAX + OTHERS && limit.rlim_max > limit.rlim_cur) {
        limit.rlim_cur = MIN(limit.rlim_max, FLOWS_MAX + OTHERS);
        setrlimit(RLIMIT_NOFILE, &limit);
        getrlimit(RLIMIT_NOFILE, &limit);
    }
    return limit.rlim_cur > 2 * OTHERS ? (guint)MIN(limit.rlim_cur - OTHERS, FLOWS_MAX) : (guint)limit.rlim_cur / 2;
}

SlirpLib *slirp_lib_new(GError **error)
{
    SlirpLib *lib = g_new0(SlirpLib, 1);

    g_mutex_init(&lib->lock);
    lib->n_users = 1;
    if (!open_library(lib, error)) {
        slirp_lib_unref(lib);
        return NULL;
    }
    lib->max_flows = bound_flows();
    return lib;
}

SlirpLib *slirp_lib_ref(SlirpLib *lib)
{
    lib->n_users++;
    return lib;
}

void slirp_lib_unref(SlirpLib *lib)
{
    if (!lib || --lib->n_users > 0)
        return;
    g_assert(lib->n_flows == 0);
    /* It stays loaded: what it once set up is set up for the process, and the next network wants it again. */
    g_mutex_clear(&lib->lock);
    g_free(lib);
}
