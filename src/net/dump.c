/*
 * -object filter-dump: frames into a file in libpcap's format (pcap-savefile(5)), with times in ns.
 *
 * Frames are dumped as they pass. With offloads that is before checksums are completed and large frames are
 * cut: tcpdump finds such checksums wrong, and frames of up to 64 KiB.
 *
 * A frame is in the file when the call that moved it returns: one copy and one write(2) each, under a lock
 * that the netdev's queues share. When the file takes no more (a full disk) that is said once, the file ends
 * behind the last whole frame, and the guest goes on. Only regular files are taken: nobody at the
 * other end can hold up the guest.
 */
#include "net/dump.h"

#include <errno.h>
#include <fcntl.h>
#include <pcap/pcap.h>
#include <pthread.h>
#include <stdio_ext.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/iov.h"
#include "base/log.h"
#include "net/filter.h"

#define DUMP_RECORD 16 /* bytes of the header in front of a frame */

struct net_dump {
	struct net_filter filter; /* first */
	struct net_backend *net;
	char *id, *path;
	pcap_t *pcap;
	pthread_mutex_t lock; /* all below */
	pcap_dumper_t *out;
	bool broken;
	off_t end; /* of what is known to be in the file */
	uint32_t maxlen;
	uint8_t *frame; /* maxlen bytes */
	char *buffer;	/* the stream's */
	struct net_dump_counters counters;
};

#define DUMP_OPT(name_, kind, ...)                                                             \
	{                                                                                      \
		.name = #name_, .type = kind, .offset = offsetof(struct net_dump_opts, name_), \
		__VA_ARGS__                                                                    \
	}

const struct opt_desc net_dump_opts[] = {
	DUMP_OPT(netdev, OPT_STRING, .help = "id of the netdev"),
	DUMP_OPT(file, OPT_STRING, .help = "where to, in libpcap's format"),
	DUMP_OPT(maxlen, OPT_U32, .def = "65536", .min = 1, .max = 262144,
		 .help = "bytes of each frame that are kept"),
	{.name = NULL, .type = OPT_END},
};

#define DUMP_COUNTER(field, tag, text)                                                         \
	{                                                                                      \
		.name = tag, .offset = offsetof(struct net_dump_counters, field), .help = text \
	}

const struct counter_desc net_dump_counter_table[] = {
	DUMP_COUNTER(frames, "frames", "frames in the file"),
	DUMP_COUNTER(bytes, "bytes", "bytes of them"),
	DUMP_COUNTER(lost, "lost", "frames that aren't there, because it took no more"),
	{.name = NULL},
};

/* The stream may have written a part, and must not write the rest. */
static void dump_give_up(struct net_dump *d, int code)
{
	d->broken = true;
	log_warn("%s: %s: %s: no more frames are dumped; what was before is whole", d->id, d->path,
		 strerror(code));
	__fpurge(pcap_dump_file(d->out));
	if (ftruncate(fileno(pcap_dump_file(d->out)), d->end))
		log_warn("%s: %s: %s: its end is not", d->id, d->path, strerror(errno));
}

static void dump_write(struct net_dump *d, const struct iovec *iov, size_t n, size_t skip,
		       size_t len)
{
	struct timespec now;
	struct pcap_pkthdr h = {.len = (bpf_u_int32)len};

	clock_gettime(CLOCK_REALTIME, &now);
	h.ts.tv_sec = now.tv_sec;
	h.ts.tv_usec = now.tv_nsec; /* the file's precision */
	h.caplen = (bpf_u_int32)iov_read(iov, n, skip, d->frame, len < d->maxlen ? len : d->maxlen);
	pcap_dump((u_char *)d->out, &h, d->frame);
	if (pcap_dump_flush(d->out) || ferror(pcap_dump_file(d->out))) {
		dump_give_up(d, errno);
		counter_add(&d->counters.lost, 1);
		return;
	}
	d->end += DUMP_RECORD + h.caplen;
	counter_add(&d->counters.frames, 1);
	counter_add(&d->counters.bytes, h.caplen);
}

static void dump_frame(struct net_filter *f, bool sent, const struct iovec *iov, size_t n,
		       size_t skip, size_t len)
{
	struct net_dump *d = (struct net_dump *)f;

	pthread_mutex_lock(&d->lock);
	if (d->broken)
		counter_add(&d->counters.lost, 1);
	else
		dump_write(d, iov, n, skip, len);
	pthread_mutex_unlock(&d->lock);
}

const struct net_dump_counters *net_dump_counters(const struct net_dump *dump)
{
	return &dump->counters;
}

/* ---- set-up ---- */

static FILE *dump_open_file(const char *path, struct err *err)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0600);
	struct stat st;
	FILE *file;

	if (fd < 0) {
		err_errno(err, "file=%s", path);
		return NULL;
	}
	if (fstat(fd, &st) || !S_ISREG(st.st_mode)) {
		err_set(err, -EINVAL,
			"file=%s: is no ordinary file, and could hold up the guest (dump into a "
			"file, and follow that: tail -c +1 -f FILE | tcpdump -r -)",
			path);
		close(fd);
		return NULL;
	}
	file = ftruncate(fd, 0) ? NULL : fdopen(fd, "w");
	if (!file) {
		err_errno(err, "file=%s", path);
		close(fd);
	}
	return file;
}

static int dump_open(struct net_dump *d, struct err *err)
{
	size_t size = DUMP_RECORD + d->maxlen;
	FILE *file;

	d->frame = malloc(d->maxlen);
	d->buffer = malloc(size);
	d->pcap = pcap_open_dead_with_tstamp_precision(DLT_EN10MB, (int)d->maxlen,
						       PCAP_TSTAMP_PRECISION_NANO);
	if (!d->frame || !d->buffer || !d->pcap)
		return err_set(err, -ENOMEM, "out of memory");
	file = dump_open_file(d->path, err);
	if (!file)
		return err->code;
	/* A frame and what stands in front of it are one write. */
	setvbuf(file, d->buffer, _IOFBF, size);
	d->out = pcap_dump_fopen(d->pcap, file);
	if (!d->out) {
		fclose(file);
		return err_set(err, -EIO, "file=%s: %s", d->path, pcap_geterr(d->pcap));
	}
	if (pcap_dump_flush(d->out))
		return err_errno(err, "file=%s", d->path);
	d->end = ftello(file);
	return 0;
}

static void dump_free(struct net_dump *d)
{
	if (d->out)
		pcap_dump_close(d->out);
	if (d->pcap)
		pcap_close(d->pcap);
	pthread_mutex_destroy(&d->lock);
	free(d->buffer);
	free(d->frame);
	free(d->path);
	free(d->id);
	free(d);
}

struct net_dump *net_dump_create(const char *id, struct net_backend *net,
				 const struct net_dump_opts *opts, struct err *err)
{
	struct net_dump *d;
	int r;

	if (!opts->file || !*opts->file) {
		err_set(err, -EINVAL, "needs file=");
		return NULL;
	}
	d = calloc(1, sizeof(*d));
	if (!d) {
		err_set(err, -ENOMEM, "out of memory");
		return NULL;
	}
	d->filter.frame = dump_frame;
	d->maxlen = opts->maxlen;
	d->net = net;
	pthread_mutex_init(&d->lock, NULL);
	d->id = strdup(id);
	d->path = strdup(opts->file);
	r = d->id && d->path ? dump_open(d, err) : err_set(err, -ENOMEM, "out of memory");
	if (!r)
		r = net_filter_add(net, &d->filter, err);
	if (!r)
		return d;
	dump_free(d);
	return NULL;
}

void net_dump_destroy(struct net_dump *dump)
{
	net_filter_remove(dump->net, &dump->filter);
	dump_free(dump);
}
