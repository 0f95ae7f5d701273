/* SPDX-License-Identifier: MIT */
/*
 * One line of typing: echo, backspace, Ctrl-U, Ctrl-W, Ctrl-C, a short history with the arrow keys. Pure
 * state; the console owns one and calls it under its lock.
 */
#ifndef HV_OPERATOR_LINE_EDITOR_H
#define HV_OPERATOR_LINE_EDITOR_H

#include "hv/lib/types.h"

#define LINE_MAX     120
#define LINE_HISTORY 8

struct line_editor {
    char text[LINE_MAX + 1]; /* ends with NUL */
    u32 length;
    char history[LINE_HISTORY][LINE_MAX + 1]; /* line n is in slot n % LINE_HISTORY */
    u32 remembered;                           /* lines ever remembered */
    u32 back;                                 /* lines that the arrow went back; 0: the one being typed */
    u8 escape;                                /* how much of ESC [ X has come */
    bool after_return;                        /* a LF now belongs to the CR before it */
};

enum line_key { LINE_OPEN, LINE_DONE, LINE_ABANDONED };

/*
 * Take one byte; echo shows what changes on the screen. LINE_DONE: text is a finished line, which the
 * caller takes before it calls line_editor_clear. LINE_ABANDONED: Ctrl-C, the line is empty again.
 */
enum line_key line_editor_key(struct line_editor *editor, u8 byte,
                              void (*echo)(const char *text, size_t size));
void line_editor_clear(struct line_editor *editor);

#endif
