/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * backplanectl: the operator's client of backplaned.
 *
 * The table of commands is all there is to know about them here: each is a function in a cmd-*.c
 * file, and its error's code is the exit status. A usage error prints the command's synopsis.
 */
#include "config.h"

#include "ctl.h"

#include <locale.h>
#include <stdio.h>

static gboolean cmd_help(Ctl *ctl, char ***args, GError **error);

static const Command commands[] = {
    { "start", "NAME [--accel kvm|test] [--config FILE] [--log LEVEL] [-- ARGUMENT ...]",
      "start a daemon for a machine",
      "Starts backplaned for the machine NAME, without systemd, and returns when it answers.\n"
      "A socket that a dead daemon left is removed, under a lock. ARGUMENTs behind -- are passed\n"
      "to backplaned, which is $BACKPLANED, or the one beside backplanectl, or the one in PATH.",
      cmd_start },
    { "list", "", "list the machines that run",
      "Lists the machines of this user whose daemons live. Machines that systemd would start\n"
      "on the first connection, but has not, are not among them.",
      cmd_list },
    { "status", "", "show run state, CPUs, memory and devices",
      "Shows the machine on one screen. What the daemon refuses to tell is shown as a dash.",
      cmd_status },
    { "plug",
      "DRIVER [KEY=VALUE ...] | --object TYPE KEY=VALUE ... | "
      "--chardev ID TYPE [KEY=VALUE ...]",
      "plug a device, an object or a chardev",
      "Plugs a device (device_add), an object (object-add) or a chardev (chardev-add).\n"
      "A VALUE that is JSON is taken as JSON, anything else as a string; KEY a.b is member b\n"
      "of the object a. What the daemon chose, an id or a pty, is printed.",
      cmd_plug },
    { "unplug", "ID [--wait] [KEY=VALUE ...] | --object ID | --chardev ID",
      "unplug a device, an object or a chardev",
      "Asks the guest to release the device ID (device_del), or removes an object or a chardev.\n"
      "With --wait returns when the guest has released the device; its refusal is an error.",
      cmd_unplug },
    { "cpus", "[N]", "show the CPUs, or plug until N are there",
      "Without N shows all CPU slots. With N plugs CPUs into the lowest free slots until N\n"
      "are there, with the ids cpu0, cpu1, ...",
      cmd_cpus },
    { "memory", "", "show the memory and its devices", "Shows sizes and memory devices.",
      cmd_memory },
    { "console", "[CHARDEV]", "attach the terminal to a chardev",
      "Attaches the terminal to a pty, listening unix socket or ringbuf chardev; a ringbuf can\n"
      "only be watched. Ctrl-] detaches. CHARDEV may be left out where only one can be meant.",
      cmd_console },
    { "config", "dump [--resolved] [FILE] | load [--dry-run] FILE",
      "write or read the machine's configuration",
      "dump writes the configuration as it was given, or with --resolved every property with\n"
      "its value and origin; load plugs a whole document at once, or with --dry-run says\n"
      "whether it could be. FILE - is standard output or input.",
      cmd_config },
    { "hints",
      "export FILE | import [--allow-degraded] FILE|--baseline RELEASE | check|diff FILE|--baseline RELEASE | "
      "describe [FILE] | forget ID | refresh ID [PROPERTY ...]",
      "write, read and look at compat hints",
      "export writes how the devices turned out where nobody had said; import makes that count for\n"
      "everything that is plugged later. check says what an import would do, and fails if it would be\n"
      "refused; diff shows what of the machine is not as in FILE; describe shows what is in it.\n"
      "forget drops what is known of a device that is not plugged; refresh is the way to today's defaults.",
      cmd_hints },
    { "abi", "[--detail]", "show the fingerprint of what the guest sees",
      "Prints the guest ABI's fingerprint, with --detail also that of each item.", cmd_abi },
    { "stop", "", "pause the guest", "Pauses all CPUs of the guest.", cmd_stop },
    { "cont", "", "run the guest", "Starts the guest, or resumes it.", cmd_cont },
    { "reset", "", "reset the guest", "Resets the machine, as its button would.", cmd_reset },
    { "powerdown", "", "press the guest's power button",
      "Asks the guest to power off. `wait shutdown` waits for it.", cmd_powerdown },
    { "quit", "", "end the machine and its daemon",
      "Ends the daemon at once, without asking the guest, and returns when it is gone.", cmd_quit },
    { "events", "[--count N] [NAME ...]", "print events as they come",
      "Prints each event, or those with the NAMEs, as a line of JSON: until interrupted, until\n"
      "N were printed, or until --timeout.",
      cmd_events },
    { "wait", "STATE | EVENT", "wait for a run state or an event",
      "Returns when the machine is in the run state STATE (running, paused, shutdown ...), or\n"
      "when the next EVENT (RESET, DEVICE_DELETED ...) comes.",
      cmd_wait },
    { "qmp", "[COMMAND [KEY=VALUE ...] | JSON]", "send QMP commands, or a shell for them",
      "Carries out one QMP command, or one request written in JSON, and prints what it returns.\n"
      "Without arguments: a shell with history and completion, which prints events as they come.",
      cmd_qmp },
    { "help", "[COMMAND]", "explain a command", "Lists the commands, or explains one.", cmd_help },
};

static const char common_help[] =
    "Options:\n"
    "  -m, --machine NAME   the machine; else $BACKPLANE_MACHINE, else the only one that runs\n"
    "  -s, --socket PATH    the socket of the machine\n"
    "  -j, --json           print replies as JSON, for scripts\n"
    "  -t, --timeout S      give up after S seconds (default 30; 0: never)\n"
    "  -h, --help           print this\n"
    "  -V, --version        print the version\n";

static const Command *
find_command(const char *name)
{
    for (guint i = 0; i < G_N_ELEMENTS(commands); i++)
        if (g_str_equal(commands[i].name, name))
            return &commands[i];
    return NULL;
}

static void
print_synopsis(FILE *out, const Command *command)
{
    fprintf(out, "usage: backplanectl [OPTION ...] %s %s\n", command->name, command->synopsis);
}

static void
print_commands(FILE *out)
{
    fputs("usage: backplanectl [OPTION ...] COMMAND [ARGUMENT ...]\n\nCommands:\n", out);
    for (guint i = 0; i < G_N_ELEMENTS(commands); i++)
        fprintf(out, "  %-10s %s\n", commands[i].name, commands[i].summary);
    fprintf(out, "\n%s", common_help);
}

static void
print_help(const Command *command)
{
    print_synopsis(stdout, command);
    printf("\n%s\n", command->help);
}

static gboolean
unknown_command(const char *name, GError **error)
{
    g_autofree char *shown = g_utf8_make_valid(name, -1);

    g_set_error(error, CTL_ERROR, CTL_ERROR_USAGE,
                "there is no command '%s' (see backplanectl help)", shown);
    return FALSE;
}

static gboolean
cmd_help(Ctl *ctl, char ***args, GError **error)
{
    const Command *command;

    if (!ctl_parse(ctl, NULL, args, 0, 1, error))
        return FALSE;
    if ((*args)[1] == NULL) {
        print_commands(stdout);
        return TRUE;
    }
    if ((command = find_command((*args)[1])) == NULL)
        return unknown_command((*args)[1], error);
    print_help(command);
    return TRUE;
}

static gboolean
run_command(Ctl *ctl, char **words, GError **error)
{
    g_auto(GStrv) args = g_strdupv(words);
    const Command *command;

    if (*args == NULL) {
        print_commands(stderr);
        g_set_error_literal(error, CTL_ERROR, CTL_ERROR_USAGE, "a command is missing");
        return FALSE;
    }
    if ((command = find_command(*args)) == NULL)
        return unknown_command(*args, error);
    if (args[1] != NULL && (g_str_equal(args[1], "--help") || g_str_equal(args[1], "-h"))) {
        print_help(command);
        return TRUE;
    }
    if (command->run(ctl, &args, error))
        return TRUE;
    if (error != NULL && g_error_matches(*error, CTL_ERROR, CTL_ERROR_USAGE))
        print_synopsis(stderr, command);
    return FALSE;
}

/* Errors of other domains (files, JSON) are failures of ours. */
static int
exit_status(const Ctl *ctl, const GError *error)
{
    if (error == NULL)
        return ctl->ended_by != 0 ? 128 + ctl->ended_by : 0;
    return error->domain == CTL_ERROR ? error->code : CTL_ERROR_FAILED;
}

/* A full disk or a closed pipe must not pass as success. */
static void
check_output(GError **error)
{
    if ((fflush(stdout) != 0 || ferror(stdout)) && *error == NULL)
        g_set_error_literal(error, CTL_ERROR, CTL_ERROR_FAILED, "standard output: write error");
}

static gboolean
run(Ctl *ctl, char **argv, GError **error)
{
    gboolean help = FALSE, version = FALSE;
    const GOptionEntry entries[] = {
        { "help", 'h', 0, G_OPTION_ARG_NONE, &help, NULL, NULL },
        { "version", 'V', 0, G_OPTION_ARG_NONE, &version, NULL, NULL },
        G_OPTION_ENTRY_NULL,
    };
    g_auto(GStrv) args = g_strdupv(argv);

    if (!ctl_options(ctl, entries, &args, TRUE, error))
        return FALSE;
    if (help)
        print_commands(stdout);
    else if (version)
        puts("backplanectl " PACKAGE_VERSION);
    else
        return run_command(ctl, args + 1, error);
    return TRUE;
}

int
main(int argc, char **argv)
{
    Ctl ctl = { .timeout = -1 };
    g_autoptr(GError) error = NULL;

    (void)argc;
    setlocale(LC_CTYPE, "");
    run(&ctl, argv, &error);
    check_output(&error);
    if (error != NULL)
        ctl_print_error(error);
    ctl_clear(&ctl);
    return exit_status(&ctl, error);
}
