/* SPDX-License-Identifier: MIT */
/*
 * The operator's prompt. A line arrives in the context of the serial interrupt, waits in a short queue and
 * runs as sched_work on the boot CPU, one at a time and with no lock held, so that a command may do what
 * takes long. RANK_MONITOR guards the queue alone. What a command says goes to the console; what happens to
 * a VM is also in the log.
 */
#include "hv/operator/monitor.h"

#include "arch/x86/machine/tsc.h"
#include "hv/lib/errno.h"
#include "hv/lib/log.h"
#include "hv/lib/printf.h"
#include "hv/lib/string.h"
#include "hv/memory/frame.h"
#include "hv/operator/console.h"
#include "hv/operator/line_editor.h"
#include "hv/operator/monitor_balloon.h"
#include "hv/operator/monitor_media.h"
#include "hv/operator/monitor_memory.h"
#include "hv/operator/monitor_vcpu.h"
#include "hv/operator/prompt.h"
#include "hv/operator/shutdown.h"
#include "hv/run/memory_wait.h"
#include "hv/run/sched.h"

#define LINES_WAITING 8
#define WORDS_MAX     5
#define HELP_COLUMN   32

struct command {
    const char *verb;      /* one word or two */
    const char *arguments; /* "" or NAME, which is a VM, and what else; in brackets: may be left out */
    const char *help;
    /* vm: NULL without NAME, and where a command for media has - instead; more: the words behind, NULL */
    void (*run)(struct vm *vm, char *const *more);
};

static struct {
    struct spinlock lock; /* RANK_MONITOR: all of this */
    char lines[LINES_WAITING][LINE_MAX + 1];
    u32 head, tail; /* count up for ever */
} waiting = {.lock = SPINLOCK_INIT(RANK_MONITOR)};

static struct monitor_host host;
static u32 grace_s;

static void lines_run(struct sched_work *work);
static void ends_judge(struct sched_work *work);
static struct sched_work lines_work = {.run = lines_run};
static struct sched_work ends_work = {.run = ends_judge};

static const char *const state_names[] = {
    [VM_ABSENT] = "absent",
    [VM_RUNNING] = "running",
    [VM_POWERED_OFF] = "powered off",
    [VM_STOPPED] = "stopped",
};

/* ---------------------------------------------------------------- lists and figures */

static void vm_list(struct vm *none, char *const *more)
{
    u32 i;

    (void)none, (void)more;
    console_printf("%-20s %-12s %10s %10s %6s %12s  %s\n", "NAME", "STATE", "GIVEN", "MEMORY", "VCPUS",
                   "CPU TIME", "WHY");
    for (i = 0; i < vm_count; i++) {
        const struct vm *vm = vms[i];
        u64 ran, waited, ms;

        vm_times(vm, &ran, &waited);
        ms = tsc_to_ns(ran) / 1000000;
        console_printf("%-20s %-12s %6llu MiB %6llu MiB %6u %8llu.%03llu  %s\n", vm->name,
                       state_names[vm->state],
                       (unsigned long long)(frame_owned(frame_owner_guest(vm->index)) * PAGE_SIZE) >> 20,
                       (unsigned long long)vm->config->memory >> 20, vm->config->vcpus,
                       (unsigned long long)ms / 1000, (unsigned long long)ms % 1000,
                       vm->state != VM_RUNNING ? vm->why
                       : memory_wait_any(vm)   ? "waits for memory"
                                               : "");
    }
    if (!vm_count)
        console_printf(
            "There is no VM: the configuration describes none that could be used; `log` says why.\n");
}

static void vm_statistics(struct vm *vm, char *const *more)
{
    u64 counts[EXIT_KIND_COUNT], ran, waited, sum = 0;
    u32 kind;

    (void)more;
    vm_exit_counts(vm, counts);
    for (kind = 0; kind < EXIT_KIND_COUNT; kind++) {
        sum += counts[kind];
        if (counts[kind])
            console_printf("%14llu  %s\n", (unsigned long long)counts[kind], exit_kind_names[kind]);
    }
    console_printf("%14llu  exits in all\n", (unsigned long long)sum);
    vm_times(vm, &ran, &waited);
    console_printf("%14llu  ms of CPU time\n", (unsigned long long)tsc_to_ns(ran) / 1000000);
    console_printf("%14llu  ms without a CPU although it had something to do\n",
                   (unsigned long long)tsc_to_ns(waited) / 1000000);
    console_printf("%14llu  KiB of guest memory given\n",
                   (unsigned long long)frame_owned(frame_owner_guest(vm->index)) * (PAGE_SIZE >> 10));
    console_printf("%14llu  KiB of lintel's memory kept for it\n",
                   (unsigned long long)frame_owned(frame_owner_support(vm->index)) * (PAGE_SIZE >> 10));
    if (vm->console && console_input_dropped(vm->console))
        console_printf("%14llu  typed bytes dropped, as it did not read them\n",
                       (unsigned long long)console_input_dropped(vm->console));
}

static void log_write(void *context, const char *text, size_t size)
{
    (void)context;
    console_printf("%.*s", (int)size, text);
}

static void log_show(struct vm *none, char *const *more)
{
    (void)none, (void)more;
    log_replay(log_write, NULL);
}

/* ---------------------------------------------------------------- the lives of VMs */

static void vm_start_command(struct vm *vm, char *const *more)
{
    int error;

    (void)more;
    if (shutdown_is_under_way()) {
        console_printf("VM %s is not started, as the machine is about to end.\n", vm->name);
        return;
    }
    error = vm_start(vm);
    if (error == -EALREADY)
        console_printf("VM %s runs already; `vm reset %s` would begin it anew.\n", vm->name, vm->name);
    else if (!error) /* else the log has just said why */
        console_printf("VM %s runs; `console %s` shows it.\n", vm->name, vm->name);
}

static void vm_stop_command(struct vm *vm, char *const *more)
{
    (void)more;
    if (vm->state == VM_RUNNING)
        vm_stop(vm, "by the operator");
    else
        console_printf("VM %s does not run: it is %s.\n", vm->name, state_names[vm->state]);
}

/* A VM that does not run any more has no machine to reset: starting it anew comes to the same. */
static void vm_reset_command(struct vm *vm, char *const *more)
{
    if (vm->state == VM_RUNNING)
        vm_request_reset(vm, "by the operator");
    else
        vm_start_command(vm, more);
}

static void console_command(struct vm *vm, char *const *more)
{
    (void)more;
    if (vm->console)
        console_focus(vm->console);
    else
        console_printf("VM %s has no console, because it could not be created: %s\n", vm->name, vm->why);
}

static void pci_command(struct vm *none, char *const *more)
{
    (void)none, (void)more;
    host.pci_show();
}

static void shutdown_command(struct vm *none, char *const *more)
{
    (void)none, (void)more;
    shutdown_begin("power off", host.power_off, grace_s);
}

static void reboot_command(struct vm *none, char *const *more)
{
    (void)none, (void)more;
    shutdown_begin("boot anew", host.reset, grace_s);
}

/* ---------------------------------------------------------------- commands */

static void help_show(struct vm *none, char *const *more);

static const struct command commands[] = {
    {"help", "", "this list", help_show},
    {"vm list", "", "every VM: state, memory given and promised, CPU time, why it does not run", vm_list},
    {"vm start", "NAME", "start a VM that does not run", vm_start_command},
    {"vm stop", "NAME", "stop a VM, as if its plug were pulled", vm_stop_command},
    {"vm reset", "NAME", "begin a VM anew", vm_reset_command},
    {"vcpu list", "NAME", "a VM's vCPUs: power state, CPU time", vcpu_list_command},
    {"vcpu stop", "NAME N", "stop a vCPU where it is", vcpu_stop_command},
    {"vcpu start", "NAME N", "let a stopped vCPU go on", vcpu_start_command},
    {"vcpu set", "NAME N STATE", "put a vCPU into any power state", vcpu_set_command},
    {"vcpu show", "NAME N", "all that a vCPU's state is", vcpu_show_command},
    {"vcpu audit", "NAME", "prove that its vCPUs' states can be read and set", vcpu_audit_command},
    {"console", "NAME", "show a VM's console; Ctrl-] leads back here", console_command},
    {"stats", "NAME", "a VM's exits by reason, and its memory", vm_statistics},
    {"balloon", "[NAME [SIZE]]", "what VMs keep of their memory; let one keep SIZE", balloon_command},
    {"media list", "", "drives with removable media, and what is in them", media_list_command},
    {"media insert", "NAME DRIVE SOURCE", "put a file, or ram:SIZE, into a drive", media_insert_command},
    {"media eject", "NAME DRIVE [--force]", "take a medium out, or ask for it", media_eject_command},
    {"media poll", "NAME DRIVE MS", "how often a drive is asked: -1 default, 0 never", media_poll_command},
    {"media events", "", "the last media that came and went", media_events_command},
    {"p2m dump", "NAME", "where a VM's memory has frames, holes and identity ranges", p2m_dump_command},
    {"p2m audit", "NAME", "prove that all that is recorded about its memory agrees", p2m_audit_command},
    {"pci", "", "the machine's own PCI functions", pci_command},
    {"log", "", "lintel's log, from the oldest line that is kept", log_show},
    {"shutdown", "", "have all VMs end, and power the machine off; twice: at once", shutdown_command},
    {"reboot", "", "have all VMs end, and reset the machine; twice: at once", reboot_command},
};

static void help_show(struct vm *none, char *const *more)
{
    size_t i;

    (void)none, (void)more;
    for (i = 0; i < ARRAY_SIZE(commands); i++) {
        const struct command *command = &commands[i];
        int used = (int)(strlen(command->verb) + strlen(command->arguments));

        console_printf("  %s %s%*s%s\n", command->verb, command->arguments, HELP_COLUMN - used, "",
                       command->help);
    }
}

struct words {
    unsigned count;            /* may be more than WORDS_MAX, which alone are kept */
    char *word[WORDS_MAX + 1]; /* behind the last one stands NULL */
};

/* Split text in place at spaces. words is all zero. */
static void words_split(char *text, struct words *words)
{
    for (;;) {
        while (*text == ' ')
            *text++ = '\0';
        if (!*text)
            return;
        if (words->count < WORDS_MAX)
            words->word[words->count] = text;
        words->count++;
        while (*text && *text != ' ')
            text++;
    }
}

/* How many words of the line are the verb of command: 0 when it is another one. */
static unsigned verb_match(const struct command *command, const struct words *words)
{
    char verb[2 * LINE_MAX];

    if (strcmp(command->verb, words->word[0]) == 0)
        return 1;
    if (words->count < 2)
        return 0;
    snprintf(verb, sizeof(verb), "%s %s", words->word[0], words->word[1]);
    return strcmp(command->verb, verb) == 0 ? 2 : 0;
}

static void verb_refuse(const struct words *words)
{
    size_t first = strlen(words->word[0]), i;
    char right[384] = "";

    /* "vm what": the verbs that begin alike are what might be meant, else all of them. */
    for (i = 0; i < ARRAY_SIZE(commands); i++) {
        const char *verb = commands[i].verb;
        size_t used = strlen(right);

        if (strncmp(verb, words->word[0], first) == 0 && verb[first] == ' ')
            snprintf(right + used, sizeof(right) - used, "%s%s", used ? ", " : "", verb);
    }
    if (right[0]) {
        console_printf("\"%s %s\" is no command; right would be %s.\n", words->word[0],
                       words->count > 1 ? words->word[1] : "...", right);
        return;
    }
    for (i = 0; i < ARRAY_SIZE(commands); i++) {
        size_t used = strlen(right);

        snprintf(right + used, sizeof(right) - used, "%s%s", used ? ", " : "", commands[i].verb);
    }
    console_printf("\"%s\" is no command; right would be %s.\n", words->word[0], right);
}

static struct vm *vm_named(const char *name)
{
    struct vm *vm = vm_find(name);
    char right[256] = "";
    u32 i;

    if (vm)
        return vm;
    for (i = 0; i < vm_count && strlen(right) + VM_NAME_MAX + 2 < sizeof(right); i++) {
        size_t used = strlen(right);

        snprintf(right + used, sizeof(right) - used, "%s%s", used ? ", " : "", vms[i]->name);
    }
    if (vm_count)
        console_printf("There is no VM called %s; right would be %s%s.\n", name,
                       vm_count > 1 ? "one of " : "", right);
    else
        console_printf("There is no VM called %s, nor any other.\n", name);
    return NULL;
}

/* Words that the command takes behind its verb, at most; least: those that stand in no bracket. */
static unsigned arguments_count(const struct command *command, unsigned *least)
{
    unsigned count = command->arguments[0] ? 1 : 0;

    *least = count && command->arguments[0] != '[' ? 1 : 0;
    for (const char *at = command->arguments; *at; at++) {
        count += *at == ' ';
        *least += *at == ' ' && at[1] != '[';
    }
    return count;
}

static void command_run(const struct command *command, struct words *words, unsigned used)
{
    static const char *const takes[] = {"no argument", "the name of one VM",
                                        "a VM's name and a vCPU's number",
                                        "a VM's name, a vCPU's number and a state"};
    unsigned least, wanted = arguments_count(command, &least), given = words->count - used;
    bool media = strncmp(command->verb, "media", 5) == 0, none;
    struct vm *vm = NULL;

    if (given < least || given > wanted) {
        console_printf("%s takes %s; right would be `%s%s%s`.\n", command->verb,
                       media && wanted  ? "a VM's name, a drive of it, and what to do with it"
                       : least < wanted ? "nothing, a VM's name, or that and a size"
                                        : takes[MIN(wanted, ARRAY_SIZE(takes) - 1)],
                       command->verb, wanted ? " " : "", command->arguments);
        return;
    }
    none = !given || (media && strcmp(words->word[used], "-") == 0); /* no VM's drive */
    if (!none)
        vm = vm_named(words->word[used]);
    if (vm || none)
        command->run(vm, &words->word[given ? used + 1 : used]);
}

static void line_run(char *text)
{
    struct words words = {0};
    size_t i;

    words_split(text, &words);
    if (!words.count)
        return;
    for (i = 0; i < ARRAY_SIZE(commands); i++) {
        unsigned used = verb_match(&commands[i], &words);

        if (used) {
            command_run(&commands[i], &words, used);
            return;
        }
    }
    verb_refuse(&words);
}

/* ---------------------------------------------------------------- from the interrupt to the boot CPU */

static bool line_next(char *text)
{
    bool any;

    spinlock_take(&waiting.lock);
    any = waiting.head != waiting.tail;
    if (any)
        memcpy(text, waiting.lines[waiting.tail++ % LINES_WAITING], LINE_MAX + 1);
    spinlock_release(&waiting.lock);
    return any;
}

static void lines_run(struct sched_work *work)
{
    char text[LINE_MAX + 1];

    if (!line_next(text))
        return;
    line_run(text);
    console_prompt();
    sched_work_queue(work); /* the next line finds done what this one has left to others */
}

/* The console hands over a finished line; its interrupt must not wait for what the line wants. */
static void line_queue(const char *text)
{
    bool room;

    spinlock_take(&waiting.lock);
    room = waiting.head - waiting.tail < LINES_WAITING;
    if (room)
        string_copy(waiting.lines[waiting.head++ % LINES_WAITING], text, LINE_MAX + 1);
    spinlock_release(&waiting.lock);
    if (room) {
        sched_work_queue(&lines_work);
        return;
    }
    console_printf("\"%s\" is dropped: %u lines wait already; right would be to wait for the prompt.\n", text,
                   LINES_WAITING);
    console_prompt();
}

/* ---------------------------------------------------------------- the end of VMs */

static u32 vms_count(enum vm_state state)
{
    u32 count = 0, i;

    for (i = 0; i < vm_count; i++)
        count += vms[i]->state == state;
    return count;
}

/* Judge once the VM that ended has left its vCPUs: runs as work, whoever called. */
static void ends_judge(struct sched_work *work)
{
    (void)work;
    if (shutdown_is_under_way()) {
        shutdown_look();
        return;
    }
    if (vms_count(VM_RUNNING))
        return;
    console_printf("\n");
    if (vm_count && vms_count(VM_POWERED_OFF) == vm_count) {
        log_info("Every VM has powered itself off; the machine does the same.");
        host.power_off();
    }
    log_info("No VM runs any more: %u stopped, %u powered off, %u could not be created.",
             vms_count(VM_STOPPED), vms_count(VM_POWERED_OFF), vms_count(VM_ABSENT));
    console_printf(
        "`vm list` says why, `vm start NAME` starts one anew, `shutdown` powers the machine off.\n");
    console_focus(NULL);
}

void monitor_vm_ended(void)
{
    sched_work_queue(&ends_work);
}

void monitor_set_grace(u32 seconds)
{
    grace_s = seconds;
}

void monitor_init(const struct monitor_host *new_host)
{
    host = *new_host;
    console_set_command_handler(line_queue);
    prompt_keep();
}
