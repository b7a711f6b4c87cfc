/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pread.c - the least that reading from the page cache can cost: COUNT preads of 1 MiB from FILE, over and over, into eight
 * buffers of shared memory, as a guest's RAM is. Prints the CPU seconds of the reading.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define SIZE (1 << 20)
#define BUFFERS 8

static double cpu(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
    int file = argc > 2 ? open(argv[1], O_RDONLY) : -1, memory = memfd_create("pread", 0);
    long count = argc > 2 ? atol(argv[2]) : 0, places = file < 0 ? 0 : lseek(file, 0, SEEK_END) / SIZE;
    char *buffers;

    if (places < 1 || memory < 0 || ftruncate(memory, BUFFERS * SIZE) < 0)
        return 1;
    buffers = mmap(NULL, BUFFERS * SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
    if (buffers == MAP_FAILED)
        return 1;
    memset(buffers, 1, BUFFERS * SIZE);
    double began = cpu();
    for (long i = 0; i < count; i++) {
        if (pread(file, buffers + i % BUFFERS * SIZE, SIZE, i % places * SIZE) != SIZE)
            return 1;
    }
    printf("%.6f\n", cpu() - began);
    return 0;
}
