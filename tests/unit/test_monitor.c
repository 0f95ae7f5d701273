/* SPDX-License-Identifier: MIT */
/* The monitor's commands, with VMs that are nothing but their names and states. */
// sources: hv/operator/monitor.c hv/operator/monitor_vcpu.c hv/operator/shutdown.c hv/lib/string.c
// sources: hv/run/power.c tests/unit/fake_engine.c
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "arch/x86/machine/tsc.h"
#include "hv/lib/errno.h"
#include "hv/memory/frame.h"
#include "hv/operator/console.h"
#include "hv/operator/monitor.h"
#include "hv/operator/monitor_balloon.h"
#include "hv/operator/monitor_media.h"
#include "hv/operator/monitor_memory.h"
#include "hv/operator/monitor_vcpu.h"
#include "hv/operator/prompt.h"
#include "hv/run/memory_wait.h"
#include "hv/run/sched.h"
#include "tests/unit/fake_engine.h"

struct vm *vms[VM_MAX];
u32 vm_count;
const char *const exit_kind_names[EXIT_KIND_COUNT] = {
#define EXIT_KIND_NAME(name, text) text,
    EXIT_KINDS(EXIT_KIND_NAME)
#undef EXIT_KIND_NAME
};

static const struct vm_config config = {.memory = 64 << 20, .vcpus = 1};
static struct vm web, db;
static char said[8192], happened[1024];
static struct console *focus;
static void (*run_line)(const char *line);
static struct sched_work *work[8];
static unsigned work_count;
static int start_result;

/* ---------------------------------------------------------------- fakes */

static void append(char *to, size_t size, const char *format, va_list args)
{
    size_t used = strlen(to);

    assert_true(vsnprintf(to + used, size - used, format, args) < (int)(size - used));
}

static void note(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    append(happened, sizeof(happened), format, args);
    va_end(args);
}

void console_printf(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    append(said, sizeof(said), format, args);
    va_end(args);
}

void console_prompt(void)
{
    console_printf("> ");
}

void console_focus(struct console *console)
{
    focus = console;
    note("focus;");
}

u64 console_input_dropped(const struct console *console)
{
    (void)console;
    return 3;
}

void console_set_command_handler(void (*run)(const char *line))
{
    run_line = run;
}

void prompt_keep(void)
{
}

void log_line(enum log_level level, const char *format, ...)
{
    va_list args;

    assert_int_equal(level, LOG_INFO);
    note("log: ");
    va_start(args, format);
    append(happened, sizeof(happened), format, args);
    va_end(args);
    note(";");
}

void log_replay(void (*write)(void *context, const char *text, size_t size), void *context)
{
    write(context, "[lintel] one\n[", 13);
    write(context, "[lintel] two\n[", 13);
}

void sched_work_queue(struct sched_work *item)
{
    assert_true(work_count < ARRAY_SIZE(work));
    if (!item->queued)
        work[work_count++] = item;
    item->queued = true;
}

/* What is queued meanwhile comes last. */
static void work_run(void)
{
    while (work_count > 0) {
        struct sched_work *item = work[0];

        memmove(work, work + 1, --work_count * sizeof(work[0]));
        item->queued = false;
        item->run(item);
    }
}

struct vm *vm_find(const char *name)
{
    u32 i;

    for (i = 0; i < vm_count; i++)
        if (strcmp(vms[i]->name, name) == 0)
            return vms[i];
    return NULL;
}

int vm_start(struct vm *vm)
{
    note("start %s;", vm->name);
    return start_result;
}

void vm_stop(struct vm *vm, const char *format, ...)
{
    va_list args;

    note("stop %s: ", vm->name);
    va_start(args, format);
    append(happened, sizeof(happened), format, args);
    va_end(args);
    note(";");
    vm->state = VM_STOPPED;
    monitor_vm_ended();
}

void p2m_dump_command(struct vm *vm, char *const *more)
{
    (void)more;
    note("dump %s;", vm->name);
}

bool memory_wait_any(const struct vm *vm)
{
    return vm->wait_limit.used != 0;
}

void balloon_command(struct vm *vm, char *const *more)
{
    note("balloon %s %s;", vm ? vm->name : "all", vm && more[0] ? more[0] : "shown");
}

static void media_note(const char *what, const struct vm *vm, char *const *more)
{
    note("%s %s %s %s;", what, vm ? vm->name : "no VM's", more[0], more[1] ? more[1] : "-");
}

void media_list_command(struct vm *none, char *const *more)
{
    (void)more;
    note("media list%s;", none ? " of one" : "");
}

void media_events_command(struct vm *none, char *const *more)
{
    (void)more;
    note("media events%s;", none ? " of one" : "");
}

void media_insert_command(struct vm *vm, char *const *more)
{
    media_note("insert", vm, more);
}

void media_eject_command(struct vm *vm, char *const *more)
{
    media_note("eject", vm, more);
}

void media_poll_command(struct vm *vm, char *const *more)
{
    media_note("poll", vm, more);
}

void p2m_audit_command(struct vm *vm, char *const *more)
{
    (void)more;
    note("audit %s;", vm->name);
}

void vcpu_show_command(struct vm *vm, char *const *more)
{
    note("show %s %s;", vm->name, more[0]);
}

void vcpu_audit_command(struct vm *vm, char *const *more)
{
    (void)more;
    note("vcpu audit %s;", vm->name);
}

void vm_request_reset(struct vm *vm, const char *why)
{
    note("reset %s: %s;", vm->name, why);
}

void vm_exit_counts(const struct vm *vm, u64 counts[EXIT_KIND_COUNT])
{
    memcpy(counts, vm->exits, sizeof(vm->exits));
}

void vm_times(const struct vm *vm, u64 *ran, u64 *waited)
{
    *ran = vm->ran;
    *waited = vm->waited;
}

u64 frame_owned(frame_owner_t owner)
{
    return owner == frame_owner_guest(0) ? 512 : owner == frame_owner_support(0) ? 10 : 0;
}

u64 tsc_to_ns(u64 ticks)
{
    return ticks;
}

/* The ends of the machine never return in real life. */
static jmp_buf machine_end;

static void pci_show(void)
{
    console_printf("00:02.0\n");
}

static NORETURN void power_off(void)
{
    note("power off");
    longjmp(machine_end, 1);
}

static NORETURN void reset(void)
{
    note("machine reset");
    longjmp(machine_end, 1);
}

static u64 deadline;
static struct timer *the_timer;
struct sched_cpu sched_cpus[1];

u64 tsc_from_ns(u64 ns)
{
    return ns / 1000;
}

void timer_init(struct timer *timer, struct timer_queue *queue, void (*fire)(struct timer *timer))
{
    (void)queue;
    timer->fire = fire;
}

void timer_set(struct timer *timer, u64 when)
{
    the_timer = timer;
    deadline = when;
}

static void power_button(struct vm *vm)
{
    note("button %s;", vm->name);
}

static const struct machine_ops machine_fake = {.power_button = power_button};
const struct machine_ops *machine = &machine_fake;

void vcpu_wake(struct vcpu *vcpu, u32 request)
{
    vcpu_request(vcpu, request);
}

void vm_power_off(struct vm *vm)
{
    note("off %s;", vm->name);
}

/* ---------------------------------------------------------------- helpers */

static void queue(const char *line)
{
    run_line(line);
}

static void type(const char *line)
{
    said[0] = happened[0] = '\0';
    queue(line);
    work_run();
}

static int setup(void **state)
{
    static const struct monitor_host host = {power_off, reset, pci_show};

    (void)state;
    web = (struct vm){.name = "web", .index = 0, .state = VM_RUNNING, .config = &config};
    db = (struct vm){
        .name = "db", .index = 1, .state = VM_STOPPED, .why = "its disk burnt", .config = &config};
    web.console = (struct console *)&web; /* compared, never used */
    vms[0] = &web;
    vms[1] = &db;
    vm_count = 2;
    work_count = 0;
    start_result = 0;
    monitor_init(&host);
    said[0] = happened[0] = '\0';
    return 0;
}

/* ---------------------------------------------------------------- tests */

static void test_refusals(void **state)
{
    static const struct {
        const char *line, *sentence;
    } rows[] = {
        {"", "> "},
        {"   ", "> "},
        {"halt", "\"halt\" is no command; right would be help, vm list, vm start, vm stop, vm reset, "
                 "vcpu list, vcpu stop, vcpu start, vcpu set, vcpu show, vcpu audit, console, stats, "
                 "balloon, media list, media insert, media eject, media poll, media events, p2m dump, "
                 "p2m audit, pci, log, shutdown, reboot.\n> "},
        {"vm", "\"vm ...\" is no command; right would be vm list, vm start, vm stop, vm reset.\n> "},
        {"vm kill web",
         "\"vm kill\" is no command; right would be vm list, vm start, vm stop, vm reset.\n> "},
        {"HELP", "\"HELP\" is no command; right would be help, vm list, vm start, vm stop, vm reset, "
                 "vcpu list, vcpu stop, vcpu start, vcpu set, vcpu show, vcpu audit, console, stats, "
                 "balloon, media list, media insert, media eject, media poll, media events, p2m dump, "
                 "p2m audit, pci, log, shutdown, reboot.\n> "},
        {"vm stop", "vm stop takes the name of one VM; right would be `vm stop NAME`.\n> "},
        {"vm stop web db", "vm stop takes the name of one VM; right would be `vm stop NAME`.\n> "},
        {"balloon web 1G 2G", "balloon takes nothing, a VM's name, or that and a size; right would be "
                              "`balloon [NAME [SIZE]]`.\n> "},
        {"media insert web cd0",
         "media insert takes a VM's name, a drive of it, and what to do with it; right "
         "would be `media insert NAME DRIVE SOURCE`.\n> "},
        {"vm list all", "vm list takes no argument; right would be `vm list`.\n> "},
        {"shutdown now please a b c", "shutdown takes no argument; right would be `shutdown`.\n> "},
        {"stats mail", "There is no VM called mail; right would be one of web, db.\n> "},
        {"vm stop db", "VM db does not run: it is stopped.\n> "},
        {"console db", "VM db has no console, because it could not be created: its disk burnt\n> "},
    };
    size_t i;

    (void)state;
    for (i = 0; i < ARRAY_SIZE(rows); i++) {
        type(rows[i].line);
        assert_string_equal(said, rows[i].sentence);
        assert_string_equal(happened, "");
    }
    vm_count = 1;
    type("stats mail");
    assert_string_equal(said, "There is no VM called mail; right would be web.\n> ");
    vm_count = 0;
    type("stats mail");
    assert_string_equal(said, "There is no VM called mail, nor any other.\n> ");
}

static void test_words_that_may_be_left_out(void **state)
{
    (void)state;
    type("balloon");
    assert_string_equal(happened, "balloon all shown;");
    type("balloon web");
    assert_string_equal(happened, "balloon web shown;");
    type("balloon web 100M");
    assert_string_equal(happened, "balloon web 100M;");
    type("media list");
    assert_string_equal(happened, "media list;");
    type("media events");
    assert_string_equal(happened, "media events;");
    type("media insert web cd0 tools.iso");
    assert_string_equal(happened, "insert web cd0 tools.iso;");
    type("media eject web cd0");
    assert_string_equal(happened, "eject web cd0 -;");
    type("media eject web cd1 --force");
    assert_string_equal(happened, "eject web cd1 --force;");
    type("media eject - ide:0");
    assert_string_equal(happened, "eject no VM's ide:0 -;");
    type("vm reset -");
    assert_string_equal(happened, "");
    type("media poll web cd0 -1");
    assert_string_equal(happened, "poll web cd0 -1;");
}

static void test_lives(void **state)
{
    (void)state;
    type("  vm   start  db ");
    assert_string_equal(happened, "start db;");
    assert_string_equal(said, "VM db runs; `console db` shows it.\n> ");
    start_result = -EALREADY;
    type("vm start web");
    assert_string_equal(said, "VM web runs already; `vm reset web` would begin it anew.\n> ");
    start_result = -ENOMEM;
    type("vm start db");
    assert_string_equal(said, "> "); /* vm_start has said why, in the log */
    start_result = 0;
    type("vm reset web");
    assert_string_equal(happened, "reset web: by the operator;");
    type("vm reset db");
    assert_string_equal(happened, "start db;");
    type("console web");
    assert_ptr_equal(focus, web.console);
}

static void test_figures(void **state)
{
    (void)state;
    web.ran = 1234567890;
    web.waited = 56789012;
    web.exits[EXIT_CPUID] = 7;
    web.exits[EXIT_HLT] = 35;
    type("vm list");
    assert_non_null(strstr(said, "NAME"));
    assert_non_null(
        strstr(said, "web                  running           2 MiB     64 MiB      1        1.234  \n"));
    assert_non_null(
        strstr(said, "db                   stopped           0 MiB     64 MiB      1        0.000  its disk "
                     "burnt\n"));
    web.wait_limit.used = 1;
    type("vm list");
    web.wait_limit.used = 0;
    assert_non_null(strstr(said, "1.234  waits for memory\n"));
    type("stats web");
    assert_string_equal(said, "             7  cpuid\n"
                              "            35  hlt\n"
                              "            42  exits in all\n"
                              "          1234  ms of CPU time\n"
                              "            56  ms without a CPU although it had something to do\n"
                              "          2048  KiB of guest memory given\n"
                              "            40  KiB of lintel's memory kept for it\n"
                              "             3  typed bytes dropped, as it did not read them\n> ");
    type("log");
    assert_string_equal(said, "[lintel] one\n[lintel] two\n> ");
    type("help");
    assert_non_null(strstr(said, "  vm reset NAME                    begin a VM anew\n"));
    assert_non_null(strstr(said, "  vcpu set NAME N STATE            put a vCPU into any power state\n"));
}

/*
 * A line does nothing before the boot CPU comes to it; those that come meanwhile wait, but not without end.
 */
static void test_queue(void **state)
{
    unsigned i;

    (void)state;
    for (i = 0; i < 9; i++)
        queue(i < 8 ? "vm start db" : "vm stop web");
    assert_string_equal(
        said, "\"vm stop web\" is dropped: 8 lines wait already; right would be to wait for the prompt.\n> ");
    assert_string_equal(happened, "");
    work_run();
    assert_string_equal(happened, "start db;start db;start db;start db;start db;start db;start db;start db;");
    type("vm start db");
    assert_string_equal(happened, "start db;");
}

static void test_last_vm_ends(void **state)
{
    (void)state;
    monitor_vm_ended(); /* another one runs: nothing is said */
    work_run();
    assert_string_equal(happened, "");
    assert_string_equal(said, "");
    web.state = VM_POWERED_OFF;
    monitor_vm_ended();
    assert_string_equal(happened, "");
    work_run();
    assert_string_equal(happened,
                        "log: No VM runs any more: 1 stopped, 1 powered off, 0 could not be created.;focus;");
    assert_null(focus);
    assert_string_equal(
        said, "\n`vm list` says why, `vm start NAME` starts one anew, `shutdown` powers the machine "
              "off.\n");
}

static void test_none_created(void **state)
{
    (void)state;
    web.state = VM_POWERED_OFF;
    db.state = VM_ABSENT;
    monitor_vm_ended();
    work_run();
    assert_string_equal(happened,
                        "log: No VM runs any more: 0 stopped, 1 powered off, 1 could not be created.;focus;");
    vm_count = 0;
    happened[0] = '\0';
    monitor_vm_ended();
    work_run();
    assert_string_equal(happened,
                        "log: No VM runs any more: 0 stopped, 0 powered off, 0 could not be created.;focus;");
}

/* ---------------------------------------------------------------- vCPUs */

static struct vcpu vcpus[2];

static void vcpus_make(void)
{
    memset(vcpus, 0, sizeof(vcpus));
    fake_engine_reset(FAKE_64);
    web.vcpu_count = ARRAY_SIZE(vcpus);
    web.boot_vcpu = &vcpus[0];
    for (u32 i = 0; i < web.vcpu_count; i++) {
        vcpus[i] = (struct vcpu){.vm = &web, .index = i};
        web.vcpus[i] = &vcpus[i];
    }
    vcpus[1].power.now.state = POWER_UNINITIALISED;
}

static void test_vcpu_list(void **state)
{
    (void)state;
    type("vcpu list db");
    assert_non_null(strstr(said, "VM db does not run, so that it has no vCPU.\n"));
    vcpus_make();
    vcpus[0].sched.ran = 1234567890;
    vcpus[0].power.now.state = POWER_HALTED;
    type("vcpu list web");
    assert_string_equal(said, "VCPU  STATE              CPU TIME  WHY\n"
                              "   0  halted                1.234  \n"
                              "   1  uninitialised         0.000  \n> ");
    vcpus[0].power.now = (struct power){.state = POWER_STOPPED, .resume = POWER_HALTED};
    vcpus[1].power.now = (struct power){.state = POWER_SIPI_RECEIVED, .begin = {.where = 0x99}};
    type("vcpu list web");
    assert_non_null(strstr(said, "  by the operator; it was halted\n"));
    assert_non_null(strstr(said, "  begins at 0x99000\n"));
    vcpus[0].power.now.off = true;
    vcpus[1].power.now = (struct power){.state = POWER_HALTED, .masked = true};
    type("vcpu list web");
    assert_non_null(strstr(said, "  by itself\n"));
    assert_non_null(strstr(said, "  interrupts are off\n"));
}

static void test_vcpu_stop_and_start(void **state)
{
    (void)state;
    vcpus_make();
    type("vcpu stop web 0");
    assert_string_equal(happened, "log: VM web: vCPU 0 is stopped by the operator;");
    assert_int_equal(vcpus[0].power.now.state, POWER_STOPPED);
    type("vcpu stop web 0");
    assert_string_equal(said, "vCPU 0 of VM web is stopped already.\n> ");
    type("vcpu start web 0");
    assert_string_equal(happened, "log: VM web: vCPU 0 goes on, runnable, by the operator;");
    type("vcpu start web 0");
    assert_string_equal(said, "vCPU 0 of VM web is not stopped: it is runnable.\n> ");
    type("vcpu start web 1");
    assert_string_equal(said, "vCPU 1 of VM web is uninitialised: only its guest can start it.\n> ");
}

static void test_vcpu_refusals(void **state)
{
    static const struct {
        const char *line, *sentence;
    } rows[] = {
        {"vcpu stop db 0", "VM db does not run, so that it has no vCPU.\n> "},
        {"vcpu stop web 2", "VM web has no vCPU 2; right would be a number from 0 to 1.\n> "},
        {"vcpu stop web -1", "VM web has no vCPU -1; right would be a number from 0 to 1.\n> "},
        {"vcpu stop web 000", "VM web has no vCPU 000; right would be a number from 0 to 1.\n> "},
        {"vcpu start web one", "VM web has no vCPU one; right would be a number from 0 to 1.\n> "},
        {"vcpu stop web",
         "vcpu stop takes a VM's name and a vCPU's number; right would be `vcpu stop NAME N`.\n> "},
        {"vcpu set web 1", "vcpu set takes a VM's name, a vCPU's number and a state; "
                           "right would be `vcpu set NAME N STATE`.\n> "},
        {"vcpu set web 1 off", "\"off\" is no state; right would be one of runnable, halted, uninitialised, "
                               "init-received, sipi-received, stopped.\n> "},
    };

    (void)state;
    vcpus_make();
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        type(rows[i].line);
        assert_string_equal(said, rows[i].sentence);
        assert_string_equal(happened, "");
    }
}

/* Every state can be set from every state, and what comes of it can be. */
static void test_vcpu_set(void **state)
{
    (void)state;
    for (unsigned before = 0; before < POWER_STATE_COUNT; before++) {
        for (unsigned after = 0; after < POWER_STATE_COUNT; after++) {
            char line[64];

            vcpus_make();
            snprintf(line, sizeof(line), "vcpu set web 1 %s", power_state_names[before]);
            type(line);
            snprintf(line, sizeof(line), "vcpu set web 1 %s", power_state_names[after]);
            type(line);
            assert_string_equal(said, "> ");
            assert_int_equal(vcpus[1].power.now.state, after);
            assert_true(power_is_possible(&vcpus[1].power.now));
            if (after == POWER_HALTED)
                assert_true(vcpus[1].power.now.masked); /* by RFLAGS */
        }
    }
}

/* ---------------------------------------------------------------- the end of the machine */

/* A shutdown that has begun is never forgotten, so each is tried in a process of its own. */
static void in_child(bool (*holds)(void))
{
    int status;
    pid_t pid = fork();

    if (!pid)
        _exit(!holds());
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static bool did(const char *what)
{
    bool same = strcmp(happened, what) == 0;

    if (!same)
        fprintf(stderr, "happened: %s\nand not:  %s\n", happened, what);
    happened[0] = 0;
    return same;
}

static bool at_once(void)
{
    if (!setjmp(machine_end))
        type("reboot");
    return did("log: The operator wants the machine to boot anew.;"
               "stop web: by the operator, who wants the machine to boot anew;machine reset");
}

static void test_without_grace(void **state)
{
    (void)state;
    in_child(at_once);
}

static bool begin_to_wait(void)
{
    u64 before = read_tsc();

    monitor_set_grace(7);
    db.state = VM_RUNNING;
    type("shutdown");
    return deadline - 7000000 >= before && deadline - 7000000 <= read_tsc() &&
           did("log: The operator wants the machine to power off.;"
               "log: VMs have 7 s to switch themselves off.;"
               "log: VM web: its power button is pressed;button web;"
               "log: VM db: its power button is pressed;button db;");
}

static bool all_obey(void)
{
    bool right = begin_to_wait();

    type("vm start db");
    right &= strcmp(said, "VM db is not started, as the machine is about to end.\n> ") == 0;
    web.state = VM_POWERED_OFF;
    monitor_vm_ended();
    work_run();
    right &= did("");
    db.state = VM_STOPPED; /* by a fault: it counts as well */
    monitor_vm_ended();
    if (!setjmp(machine_end))
        work_run();
    return right & did("log: No VM runs any more.;power off");
}

static bool one_does_not(void)
{
    bool right = begin_to_wait();

    web.state = VM_POWERED_OFF;
    the_timer->fire(the_timer);
    right &= did("log: The 7 s are over: what still runs is stopped.;");
    if (!setjmp(machine_end))
        work_run();
    return right & did("stop db: by the operator, who wants the machine to power off;power off");
}

static bool asked_again(void)
{
    bool right = begin_to_wait();

    web.state = VM_POWERED_OFF;
    if (!setjmp(machine_end))
        type("reboot");
    return right & did("log: The operator wants the machine to boot anew at once.;"
                       "stop db: by the operator, who wants the machine to boot anew;machine reset");
}

static bool none_runs(void)
{
    monitor_set_grace(7);
    web.state = VM_POWERED_OFF;
    if (!setjmp(machine_end))
        type("shutdown");
    return did("log: The operator wants the machine to power off.;power off");
}

static void test_with_grace(void **state)
{
    (void)state;
    in_child(all_obey);
    in_child(one_does_not);
    in_child(asked_again);
    in_child(none_runs);
}

static void test_all_powered_off(void **state)
{
    (void)state;
    web.state = db.state = VM_POWERED_OFF;
    monitor_vm_ended();
    if (!setjmp(machine_end))
        work_run();
    assert_string_equal(happened,
                        "log: Every VM has powered itself off; the machine does the same.;power off");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_refusals, setup),
        cmocka_unit_test_setup(test_words_that_may_be_left_out, setup),
        cmocka_unit_test_setup(test_lives, setup),
        cmocka_unit_test_setup(test_figures, setup),
        cmocka_unit_test_setup(test_queue, setup),
        cmocka_unit_test_setup(test_last_vm_ends, setup),
        cmocka_unit_test_setup(test_none_created, setup),
        cmocka_unit_test_setup(test_all_powered_off, setup),
        cmocka_unit_test_setup(test_vcpu_list, setup),
        cmocka_unit_test_setup(test_vcpu_stop_and_start, setup),
        cmocka_unit_test_setup(test_vcpu_refusals, setup),
        cmocka_unit_test_setup(test_vcpu_set, setup),
        cmocka_unit_test_setup(test_without_grace, setup),
        cmocka_unit_test_setup(test_with_grace, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
