/* SPDX-License-Identifier: GPL-2.0 */
/* What upstream's VFIO selftests need of libuuid. */
#ifndef WORKBENCH_UUID_H
#define WORKBENCH_UUID_H

#include <stdio.h>

typedef unsigned char uuid_t[16];

static inline int uuid_parse(const char *in, uuid_t out)
{
	unsigned int byte, i;

	for (i = 0; i < 16; i++, in += 2) {
		if (*in == '-')
			in++;
		if (sscanf(in, "%2x", &byte) != 1)
			return -1;
		out[i] = byte;
	}
	return *in ? -1 : 0;
}

#endif
