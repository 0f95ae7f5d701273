/* SPDX-License-Identifier: MIT */
/* Keeps the monitor's prompt in sight when the log writes over it. */
#ifndef HV_OPERATOR_PROMPT_H
#define HV_OPERATOR_PROMPT_H

/* From now on; once, by the monitor, when timers run. */
void prompt_keep(void);

#endif
