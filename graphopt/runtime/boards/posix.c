/* SPDX-License-Identifier: Apache-2.0
 * The harness's files on Linux. */
#include "harness.h"

#include <fcntl.h>
#include <unistd.h>

int harness_open(const char *path, int write)
{
    return open(path, write ? O_WRONLY | O_CREAT | O_TRUNC : O_RDONLY, 0600);
}

uint32_t harness_read(int file, void *buffer, uint32_t size)
{
    uint8_t *at = buffer;
    while (size > 0) {
        const ssize_t got = read(file, at, size);
        if (got <= 0) {
            break;
        }
        at += got;
        size -= (uint32_t)got;
    }
    return size;
}

uint32_t harness_write(int file, const void *buffer, uint32_t size)
{
    const uint8_t *at = buffer;
    while (size > 0) {
        const ssize_t put = write(file, at, size);
        if (put <= 0) {
            break;
        }
        at += put;
        size -= (uint32_t)put;
    }
    return size;
}
