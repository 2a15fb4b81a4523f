/* SPDX-License-Identifier: Apache-2.0
 * Files as the harness sees them. read and write return the bytes that are missing, 0 when all went well. */
#ifndef HARNESS_H
#define HARNESS_H

#include <stdint.h>

int harness_open(const char *path, int write);
uint32_t harness_read(int file, void *buffer, uint32_t size);
uint32_t harness_write(int file, const void *buffer, uint32_t size);

#endif
