/* SPDX-License-Identifier: MIT */
/*
 * The editor of the monitor's line. Called by hv/operator/console.c under the console lock. The cursor is
 * always at the end of the line, so that every change is a matter of backspaces and text: it works on any
 * terminal.
 */
#include "hv/operator/line_editor.h"

#include "hv/lib/string.h"

#define KEY_CTRL_C    0x03
#define KEY_CTRL_H    0x08
#define KEY_CTRL_U    0x15
#define KEY_CTRL_W    0x17
#define KEY_ESCAPE    0x1b
#define KEY_BACKSPACE 0x7f

typedef void (*echo_fn)(const char *text, size_t size);

/* Take the last count characters away, on the screen too. */
static void characters_erase(struct line_editor *editor, u32 count, echo_fn echo)
{
    for (; count && editor->length; count--) {
        editor->length--;
        echo("\b \b", 3);
    }
    editor->text[editor->length] = '\0';
}

static void word_erase(struct line_editor *editor, echo_fn echo)
{
    u32 at = editor->length;

    while (at && editor->text[at - 1] == ' ')
        at--;
    while (at && editor->text[at - 1] != ' ')
        at--;
    characters_erase(editor, editor->length - at, echo);
}

static void character_add(struct line_editor *editor, u8 byte, echo_fn echo)
{
    if (editor->length == LINE_MAX) {
        echo("\a", 1);
        return;
    }
    editor->text[editor->length++] = (char)byte;
    editor->text[editor->length] = '\0';
    echo((const char *)&byte, 1);
}

static char *history_slot(struct line_editor *editor, u32 back)
{
    return editor->history[(editor->remembered - back) % LINE_HISTORY];
}

/* Empty lines and repetitions are not worth an arrow key. */
static void history_remember(struct line_editor *editor)
{
    if (!editor->length || (editor->remembered && strcmp(history_slot(editor, 1), editor->text) == 0))
        return;
    memcpy(history_slot(editor, 0), editor->text, sizeof(editor->text));
    editor->remembered++;
}

/* Show the line that is `back` lines old instead of the present one; 0 is an empty line. */
static void history_show(struct line_editor *editor, u32 back, echo_fn echo)
{
    if (back > MIN(editor->remembered, (u32)LINE_HISTORY))
        return;
    characters_erase(editor, editor->length, echo);
    editor->back = back;
    if (!back)
        return;
    memcpy(editor->text, history_slot(editor, back), sizeof(editor->text));
    editor->length = (u32)strlen(editor->text);
    echo(editor->text, editor->length);
}

/*
 * The bytes behind ESC: only ESC [ A and ESC [ B (or ESC O A, B) mean something here, the others pass
 * unseen.
 */
static void escape_continue(struct line_editor *editor, u8 byte, echo_fn echo)
{
    if (editor->escape == 1) {
        editor->escape = byte == '[' || byte == 'O' ? 2 : 0;
        return;
    }
    if (byte >= '0' && byte <= ';') /* parameters of a longer sequence */
        return;
    editor->escape = 0;
    if (byte == 'A')
        history_show(editor, editor->back + 1, echo);
    if (byte == 'B' && editor->back)
        history_show(editor, editor->back - 1, echo);
}

static enum line_key line_end(struct line_editor *editor, u8 byte, echo_fn echo)
{
    bool second_half = byte == '\n' && editor->after_return;

    editor->after_return = byte == '\r';
    if (second_half)
        return LINE_OPEN;
    echo("\r\n", 2);
    history_remember(editor);
    return LINE_DONE;
}

static enum line_key control_key(struct line_editor *editor, u8 byte, echo_fn echo)
{
    switch (byte) {
    case KEY_CTRL_C:
        echo("^C\r\n", 4);
        line_editor_clear(editor);
        return LINE_ABANDONED;
    case KEY_CTRL_H:
    case KEY_BACKSPACE: characters_erase(editor, 1, echo); break;
    case KEY_CTRL_U: characters_erase(editor, editor->length, echo); break;
    case KEY_CTRL_W: word_erase(editor, echo); break;
    case KEY_ESCAPE: editor->escape = 1; break;
    default: break; /* no other control character means anything */
    }
    return LINE_OPEN;
}

enum line_key line_editor_key(struct line_editor *editor, u8 byte, echo_fn echo)
{
    if (byte == '\r' || byte == '\n')
        return line_end(editor, byte, echo);
    editor->after_return = false;
    if (editor->escape) {
        escape_continue(editor, byte, echo);
        return LINE_OPEN;
    }
    if (byte < ' ' || byte == KEY_BACKSPACE)
        return control_key(editor, byte, echo);
    if (byte < KEY_BACKSPACE)
        character_add(editor, byte, echo);
    return LINE_OPEN;
}

void line_editor_clear(struct line_editor *editor)
{
    editor->length = 0;
    editor->text[0] = '\0';
    editor->back = 0;
    editor->escape = 0;
}
