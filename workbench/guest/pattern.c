// SPDX-License-Identifier: GPL-2.0
/*
 * A pattern that only its seed tells: written to a device, read back and compared.
 *
 *   pattern write|check FILE SEED MIB [ABOVE]
 *
 * The same program runs in the guest, on the passed-through disk, and outside, on the
 * file behind it. I/O is direct where FILE can do it, so that what is compared has
 * really been moved by the device. Prints the checksum of what it wrote or read. ABOVE is
 * a physical address that all of the buffer must be at or above: in memory plugged later.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHUNK	(1UL << 20)
#define WORDS	(CHUNK / sizeof(uint64_t))

/* splitmix64: word n of the stream depends on the seed and n alone */
static uint64_t pattern_word(uint64_t seed, uint64_t n)
{
	uint64_t z = seed + (n + 1) * 0x9e3779b97f4a7c15ULL;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return z ^ (z >> 31);
}

static uint64_t checksum(uint64_t sum, const uint64_t *words)
{
	unsigned long i;

	for (i = 0; i < WORDS; i++)
		sum = (sum ^ words[i]) * 0x100000001b3ULL;
	return sum;
}

static int transfer(int fd, uint64_t *buf, off_t offset, int writing)
{
	unsigned long done = 0;

	while (done < CHUNK) {
		char *p = (char *)buf + done;
		ssize_t n = writing ? pwrite(fd, p, CHUNK - done, offset + done) :
				      pread(fd, p, CHUNK - done, offset + done);

		if (n <= 0) {
			fprintf(stderr, "pattern: %s at %lld: %s\n", writing ? "write" : "read",
				(long long)offset, n ? strerror(errno) : "end of file");
			return -1;
		}
		done += n;
	}
	return 0;
}

static int is_above(const void *buf, uint64_t above)
{
	unsigned long page = sysconf(_SC_PAGESIZE), i;
	int fd = open("/proc/self/pagemap", O_RDONLY);
	uint64_t entry;

	for (i = 0; i < CHUNK / page; i++) {
		if (pread(fd, &entry, 8, ((uintptr_t)buf / page + i) * 8) != 8 || !(entry >> 63) ||
		    (entry & ((1ULL << 55) - 1)) * page < above) {
			fprintf(stderr, "pattern: page %lu of the buffer: pagemap says %llx\n", i,
				(unsigned long long)entry);
			return 0;
		}
	}
	return 1;
}

int main(int argc, char **argv)
{
	uint64_t *buf, seed, sum = 0xcbf29ce484222325ULL;
	unsigned long chunks, c, i;
	int fd, writing;

	if (argc != 5 && argc != 6) {
		fprintf(stderr, "usage: pattern write|check FILE SEED MIB [ABOVE]\n");
		return 2;
	}
	writing = !strcmp(argv[1], "write");
	seed = strtoull(argv[3], NULL, 0);
	chunks = strtoul(argv[4], NULL, 0);

	fd = open(argv[2], O_RDWR | O_DIRECT);
	if (fd < 0 && errno == EINVAL)
		fd = open(argv[2], O_RDWR);
	if (fd < 0 || posix_memalign((void **)&buf, 1 << 16, CHUNK)) {
		perror(argv[2]);
		return 1;
	}

	for (c = 0; c < chunks; c++) {
		if (writing)
			for (i = 0; i < WORDS; i++)
				buf[i] = pattern_word(seed, c * WORDS + i);
		else
			memset(buf, 0, CHUNK);
		if (!c && argc == 6 && !is_above(buf, strtoull(argv[5], NULL, 0)))
			return 1;
		if (transfer(fd, buf, c * CHUNK, writing))
			return 1;
		for (i = 0; !writing && i < WORDS; i++) {
			if (buf[i] == pattern_word(seed, c * WORDS + i))
				continue;
			fprintf(stderr, "pattern: differs at byte %lu\n", c * CHUNK + i * 8);
			return 1;
		}
		sum = checksum(sum, buf);
	}
	if (writing && fsync(fd)) {
		perror("fsync");
		return 1;
	}
	printf("%016llx\n", (unsigned long long)sum);
	return 0;
}
