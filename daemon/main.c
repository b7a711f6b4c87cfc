/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * main.c - arguments, inherited descriptors, signals and the run loop; no policy.
 *
 * Order counts for start-up time. The QMP sockets listen before the accelerator is opened, and KVM's slow part runs in the
 * background (kvm/vm.h), so that a manager is greeted while the kernel is still at work. With --daemonize the
 * parent waits at a pipe and exits only when the sockets listen and the pid file is written: a manager does not retry.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <glib-unix.h>

#include "config.h"
#include "access.h"
#include "handlers.h"
#include "log.h"
#include "machine.h"

typedef struct {
    const char *name, *qtest, *config, *hints, *log, *pidfile;
    GPtrArray  *qmp;
    Access      access;
    VmAccel     accel;
    SetActionArgs action;
    gboolean    daemonize;
    int         ready_fd; /* the parent's pipe, or -1 */
} Options;

static const char usage[] =
    "Usage: backplaned --name NAME --qmp LISTENER [OPTION]...\n"
    "One virtual machine, empty at first: CPUs, memory and devices are plugged in over QMP.\n"
    "\n"
    "  --name NAME           the machine's name\n"
    "  --qmp unix:PATH[,server=on|off][,readonly=on|off]\n"
    "  --qmp fd:N|fd:NAME    where QMP is served; may be given several times. NAME: a\n"
    "                        socket inherited from systemd (FileDescriptorName=)\n"
    "  --allow-user USER, --allow-group GROUP\n"
    "                        who may use the QMP sockets besides root and this user;\n"
    "                        may be given several times\n"
    "  --accel kvm|test      how the guest runs (kvm); test: no KVM, driven by --qtest\n"
    "  --qtest unix:PATH[,server=on|off]\n"
    "                        the qtest protocol, with --accel test\n"
    "  --action EVENT=ACTION[,EVENT=ACTION]...\n"
    "                        what follows on reboot, shutdown, panic (as set-action says)\n"
    "  --hints FILE          import compat hints first (as compat-hints-import does)\n"
    "  --config FILE         plug in this configuration (as machine-config-load does)\n"
    "  --log LEVEL           error, warning, info (the default) or debug\n"
    "  --pidfile FILE        write the process id there\n"
    "  --daemonize           go to the background once QMP answers\n"
    "  --version, --help\n";

static G_GNUC_PRINTF(1, 2) int complain(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    g_autofree char *text = g_strdup_vprintf(format, args);
    va_end(args);
    fprintf(stderr, "backplaned: %s\n", text);
    return 1;
}

/* ---- arguments; 0: go on, 1: bad, -1: done ---- */

static int parse_accel(Options *o, const char *arg)
{
    if (strcmp(arg, "kvm") == 0)
        o->accel = VM_ACCEL_KVM;
    else if (strcmp(arg, "test") == 0)
        o->accel = VM_ACCEL_TEST;
    else
        return complain("--accel %s: it is kvm or test", arg);
    return 0;
}

static int parse_access(Options *o, int option, const char *name)
{
    g_autoptr(GError) error = NULL;
    gboolean ok = option == 'U' ? access_allow_user(&o->access, name, &error) : access_allow_group(&o->access, name, &error);

    return ok ? 0 : complain("%s", error->message);
}

/* One of set-action's enums by its name. */
static gboolean parse_enum(const char *const *names, const char *name, int *value)
{
    for (*value = 0; names[*value]; (*value)++) {
        if (strcmp(names[*value], name) == 0)
            return TRUE;
    }
    return FALSE;
}

static int parse_action(SetActionArgs *a, const char *arg)
{
    g_auto(GStrv) words = g_strsplit(arg, ",", -1);

    for (guint i = 0; words[i] || i == 0; i++) {
        const char *word = words[i] ? words[i] : "";
        int value;

        if (g_str_has_prefix(word, "reboot=") && parse_enum(reboot_action_names, word + 7, &value))
            a->has_reboot = TRUE, a->reboot = (RebootAction)value;
        else if (g_str_has_prefix(word, "shutdown=") && parse_enum(shutdown_action_names, word + 9, &value))
            a->has_shutdown = TRUE, a->shutdown = (ShutdownAction)value;
        else if (g_str_has_prefix(word, "panic=") && parse_enum(panic_action_names, word + 6, &value))
            a->has_panic = TRUE, a->panic = (PanicAction)value;
        else
            return complain("--action: '%s' is not reboot=, shutdown= or panic= with an action of set-action", word);
    }
    return 0;
}

static int parse_args(Options *o, int argc, char **argv)
{
    static const struct option longs[] = {
        { "name", required_argument, NULL, 'n' },    { "qmp", required_argument, NULL, 'q' },
        { "action", required_argument, NULL, 'A' },
        { "accel", required_argument, NULL, 'a' },   { "qtest", required_argument, NULL, 't' },
        { "allow-user", required_argument, NULL, 'U' },
        { "allow-group", required_argument, NULL, 'G' },
        { "hints", required_argument, NULL, 'H' },
        { "config", required_argument, NULL, 'c' },  { "log", required_argument, NULL, 'l' },
        { "pidfile", required_argument, NULL, 'p' }, { "daemonize", no_argument, NULL, 'd' },
        { "version", no_argument, NULL, 'v' },       { "help", no_argument, NULL, 'h' },
        { NULL, 0, NULL, 0 },
    };
    int c, bad = 0;

    while (!bad && (c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        switch (c) {
        case 'n': o->name = optarg; break;
        case 'q': g_ptr_array_add(o->qmp, optarg); break;
        case 'a': bad = parse_accel(o, optarg); break;
        case 'A': bad = parse_action(&o->action, optarg); break;
        case 't': o->qtest = optarg; break;
        case 'U':
        case 'G': bad = parse_access(o, c, optarg); break;
        case 'c': o->config = optarg; break;
        case 'H': o->hints = optarg; break;
        case 'l': o->log = optarg; break;
        case 'p': o->pidfile = optarg; break;
        case 'd': o->daemonize = TRUE; break;
        case 'v': printf("backplaned %s\n", PACKAGE_VERSION); return -1;
        case 'h': fputs(usage, stdout); return -1;
        default: return 1; /* getopt has said it */
        }
    }
    return bad;
}

static int check_options(const Options *o, int argc, char **argv)
{
    if (optind < argc)
        return complain("unexpected argument '%s'; --help lists the options", argv[optind]);
    if (!o->name || !*o->name)
        return complain("--name is missing");
    if (strlen(o->name) > 64 || strpbrk(o->name, "/\n"))
        return complain("--name '%s': at most 64 bytes, without '/'", o->name);
    if (o->qmp->len == 0)
        return complain("--qmp is missing: without it nothing can be plugged in");
    if (o->qtest && o->accel != VM_ACCEL_TEST)
        return complain("--qtest goes with --accel test, and the accelerator is kvm");
    return 0;
}

/* ---- to the background ---- */

/* The parent's half: exits with the child's word. */
static int await_child(int fd)
{
    guint8 status = 1;

    while (read(fd, &status, 1) < 0 && errno == EINTR)
        ;
    return status;
}

/* Returns TRUE in the process that goes on. */
static gboolean go_background(Options *o, int *status)
{
    int fds[2];

    if (pipe2(fds, O_CLOEXEC) < 0) {
        *status = complain("--daemonize: pipe: %s", g_strerror(errno));
        return FALSE;
    }
    pid_t pid = fork();
    if (pid < 0) {
        *status = complain("--daemonize: fork: %s", g_strerror(errno));
        return FALSE;
    }
    if (pid > 0) {
        close(fds[1]);
        *status = await_child(fds[0]);
        return FALSE;
    }
    close(fds[0]);
    o->ready_fd = fds[1];
    setsid();
    return TRUE;
}

/* The child's word to the parent; from here on it has no terminal. */
static void tell_parent(Options *o)
{
    guint8 ok = 0;

    if (o->ready_fd < 0)
        return;
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null >= 0) {
        dup2(null, STDIN_FILENO);
        dup2(null, STDOUT_FILENO);
        dup2(null, STDERR_FILENO);
        close(null);
    }
    if (chdir("/") < 0)
        g_warning("--daemonize: chdir: %s", g_strerror(errno));
    ssize_t written = write(o->ready_fd, &ok, 1);
    (void)written; /* a parent that is gone does not care */
    close(o->ready_fd);
    o->ready_fd = -1;
}

static gboolean write_pidfile(const char *path, GError **error)
{
    g_autofree char *text = g_strdup_printf("%d\n", getpid());

    return g_file_set_contents_full(path, text, -1, G_FILE_SET_CONTENTS_CONSISTENT, 0644, error);
}

/* ---- signals: a descriptor in the main loop, not a handler ---- */

static gboolean on_signal(gint fd, GIOCondition condition, gpointer user)
{
    struct signalfd_siginfo info;
    sigset_t set;

    if (read(fd, &info, sizeof info) != sizeof info)
        return G_SOURCE_CONTINUE;
    g_message("signal %u from process %u: ending", info.ssi_signo, info.ssi_pid);
    /* A second one ends at once, whatever the orderly way is waiting for. */
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    machine_quit(user, FALSE, SHUTDOWN_CAUSE_HOST_SIGNAL, 0);
    return G_SOURCE_REMOVE;
}

static int block_signals(void)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &set, NULL); /* before any thread: they inherit it */
    signal(SIGPIPE, SIG_IGN);
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* ---- listeners ---- */

static gboolean add_listener(Machine *m, const char *spec, GError **error)
{
    g_autofree char *resolved = NULL;

    if (g_str_has_prefix(spec, "fd:") && !g_ascii_isdigit(spec[3])) {
        int fd = service_take_fd(m->service, spec + 3, error);
        if (fd < 0)
            return FALSE;
        resolved = g_strdup_printf("fd:%d", fd);
    }
    return qmp_server_add(m->server, resolved ? resolved : spec, error);
}

static gboolean add_qtest(Machine *m, const char *spec, GError **error)
{
    g_auto(GStrv) words = g_strsplit(spec, ",", -1);
    gboolean server = TRUE;

    if (!g_str_has_prefix(words[0], "unix:"))
        return error_set(error, "--qtest %s: it is unix:PATH[,server=on|off]", spec);
    for (guint i = 1; words[i]; i++) {
        if (strcmp(words[i], "server=off") == 0)
            server = FALSE;
        else if (strcmp(words[i], "server=on") != 0)
            return error_set(error, "--qtest %s: '%s' is not server=on or server=off", spec, words[i]);
    }
    const char *path = words[0] + strlen("unix:");
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    if (strlen(path) >= sizeof addr.sun_path)
        return error_set(error, "--qtest: the path '%s' has %zu bytes, a socket's has at most %zu", path, strlen(path),
                         sizeof addr.sun_path - 1);
    memcpy(addr.sun_path, path, strlen(path) + 1);
    g_auto(AutoFd) fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return error_set_errno(error, errno, "--qtest: socket");
    if (server ? bind(fd, (struct sockaddr *)&addr, sizeof addr) < 0 || listen(fd, 1) < 0
               : connect(fd, (struct sockaddr *)&addr, sizeof addr) < 0)
        return error_set_errno(error, errno, "--qtest: can not %s '%s'", server ? "listen on" : "connect to", path);
    m->qtest_connected = !server;
    return server ? vm_qtest_listen(m->vm, fd_steal(&fd), error) : vm_qtest_attach(m->vm, fd_steal(&fd), error);
}

/* Everything up to the run loop that can fail. */
static gboolean start(Machine *m, Options *o, GError **error)
{
    if (!cmd_set_action(m, NULL, &o->action, error))
        return FALSE;
    for (guint i = 0; i < o->qmp->len; i++) {
        if (!add_listener(m, g_ptr_array_index(o->qmp, i), error))
            return FALSE;
    }
    if (o->qtest && (!vm_ready(m->vm, error) || !add_qtest(m, o->qtest, error)))
        return FALSE;
    if (o->hints && !hints_import_file(m, o->hints, error))
        return FALSE;
    if (o->config && !config_load_file(m, o->config, error))
        return FALSE;
    if (o->pidfile && !write_pidfile(o->pidfile, error))
        return FALSE;
    return TRUE;
}

static int run(Options *o, Service *service)
{
    g_autoptr(GError) error = NULL;
    g_auto(AutoFd) signal_fd = block_signals();
    Machine *m = machine_new(o->name, o->accel, service, &error);

    if (!m)
        return complain("%s", error->message);
    m->server = qmp_server_new(&(QmpServerConfig){
        .rows = qmp_commands,
        .n_rows = qmp_n_commands,
        .ctx = m,
        .before_command = machine_tell_unplugged,
        .package = "backplane-" PACKAGE_VERSION,
        .allowed_uids = (const uid_t *)o->access.uids->data,
        .n_allowed_uids = o->access.uids->len,
        .allowed_gids = (const gid_t *)o->access.gids->data,
        .n_allowed_gids = o->access.gids->len,
    });
    if (start(m, o, &error)) {
        guint source = g_unix_fd_add(signal_fd, G_IO_IN, on_signal, m);
        service_ready(service, "prelaunch");
        tell_parent(o);
        g_main_loop_run(m->loop);
        if (g_main_context_find_source_by_id(NULL, source))
            g_source_remove(source);
    } else {
        m->exit_status = complain("%s", error->message);
    }
    qmp_server_flush(m->server);
    int status = m->exit_status;
    qmp_server_free(g_steal_pointer(&m->server));
    machine_free(m);
    if (o->pidfile && !error)
        unlink(o->pidfile);
    return status;
}

static int start_and_run(Options *o, int argc, char **argv)
{
    g_autoptr(GError) error = NULL;
    int status = parse_args(o, argc, argv);

    if (status)
        return status < 0 ? 0 : 2;
    if (check_options(o, argc, argv))
        return 2;
    if (!log_init(o->log)) {
        complain("--log %s: it is error, warning, info or debug", o->log);
        return 2;
    }
    if (o->daemonize && !go_background(o, &status))
        return status;
    Service *service = service_new(&error);
    if (error)
        return complain("%s", error->message);
    status = run(o, service);
    service_free(service);
    return status;
}

int main(int argc, char **argv)
{
    g_autoptr(GPtrArray) qmp = g_ptr_array_new();
    Options o = { .qmp = qmp, .accel = VM_ACCEL_KVM, .log = "info", .ready_fd = -1 };

    access_init(&o.access);
    int status = start_and_run(&o, argc, argv);
    access_clear(&o.access);
    return status;
}
