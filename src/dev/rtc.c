/*
 * Real-time clock and CMOS memory: Motorola MC146818A (MC146818A/D), with the PC's century byte and
 * memory sizes (IBM PC/AT Technical Reference, "CMOS RAM").
 *
 * Theory of operation. The guest's clock is the host's CLOCK_REALTIME plus an offset in ns, so a
 * guest sees the host's corrections; setting it changes the offset. Nothing ticks: the time
 * registers are worked out when they are read, and the flags PF, AF and UF of register C when it is
 * read or an interrupt is due: each is set if one of its moments lies between the last look and now.
 * A host timer runs only while an interrupt is enabled whose flag isn't set yet; an idle guest costs
 * nothing.
 *
 *	             last look          now
 *	----|----------|------|----------|-------> guest's clock
 *	    :                 :
 *	  a second          a second: sets UF
 *
 * While SET is 1 or the divider is held in reset, the clock stands, and the registers hold what is
 * written. Letting the divider go starts half a second before the next update, as in the chip; so
 * the clock is set exactly.
 *
 * Registers: vCPU threads, device's lock. The host timer: control thread.
 * Not there: square wave output, daylight saving (DSE reads as written).
 */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "bus/bus.h"
#include "bus/device.h"
#include "bus/pc.h"
#include "dev/defer.h"
#include "dev/rtc_time.h"
#include "kvm/vm.h"

#define CMOS_SIZE 128
#define NS	  INT64_C(1000000000)
#define CLOCK_MIN INT64_C(-7000000000) /* s since 1970: the years 1748 and 2255 */
#define CLOCK_MAX INT64_C(9000000000)
#define UIP_NS	  244000 /* UIP rises 244 us before an update */

enum {
	REG_A = 0x0a,
	REG_B = 0x0b,
	REG_C = 0x0c,
	REG_D = 0x0d,

	A_UIP = 0x80,
	A_DV_RESET = 0x60, /* 110 and 111: divider held in reset */
	A_RS = 0x0f,
	B_SET = 0x80,
	B_DM = 0x04,
	B_24H = 0x02,
	C_IRQF = 0x80,
	C_PF = 0x40, /* the enables in B have the same places */
	C_AF = 0x20,
	C_UF = 0x10,
	C_FLAGS = C_PF | C_AF | C_UF,
	D_VRT = 0x80,
};

enum rtc_start {
	START_UTC,
	START_LOCALTIME,
	START_DATE
};

struct rtc {
	struct device dev;
	struct bus_region region;
	struct loop_timer timer;
	struct defer *arm;
	uint8_t index;
	uint8_t cmos[CMOS_SIZE]; /* time registers are valid while the clock stands */
	int64_t offset;		 /* ns: guest's clock = CLOCK_REALTIME + offset */
	int64_t looked;		 /* guest's clock when the flags were last worked out */
	bool line;

	char *opt_base;
	uint64_t opt_below, opt_above; /* bytes of RAM below and above 4 GiB */
};

/* ---- the clock ---- */

static int64_t host_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return ts.tv_sec * NS + ts.tv_nsec;
}

static int64_t guest_ns(const struct rtc *r)
{
	return host_ns() + r->offset;
}

/* The same in whole seconds; rounds down before 1970 too. */
static int64_t seconds(int64_t ns)
{
	return ns >= 0 ? ns / NS : -((NS - 1 - ns) / NS);
}

static bool stands(const struct rtc *r)
{
	return r->cmos[REG_B] & B_SET || (r->cmos[REG_A] & A_DV_RESET) == A_DV_RESET;
}

static struct rtc_format format(const struct rtc *r)
{
	return (struct rtc_format){.binary = r->cmos[REG_B] & B_DM,
				   .hours24 = r->cmos[REG_B] & B_24H};
}

/* Registers from the clock. */
static void load(struct rtc *r)
{
	rtc_time_encode(r->cmos, seconds(guest_ns(r)), format(r));
}

/* The clock from the registers, with so many ns of the second gone. What 64 bits of ns can't hold
 * is cut off. */
static void store(struct rtc *r, int64_t phase)
{
	int64_t s = rtc_time_decode(r->cmos, format(r));

	s = s < CLOCK_MIN ? CLOCK_MIN : s > CLOCK_MAX ? CLOCK_MAX : s;
	r->offset = s * NS + phase - host_ns();
	r->looked = guest_ns(r);
}

/* ---- flags and interrupt ---- */

/* ns between two periodic interrupts; 0 = none. With the PC's 32.768 kHz, rates 1 and 2 are those
 * of 8 and 9. */
static int64_t period_ns(const struct rtc *r)
{
	unsigned int rs = r->cmos[REG_A] & A_RS;

	if (!rs)
		return 0;
	if (rs < 3)
		rs += 7;
	return NS * (INT64_C(1) << (rs - 1)) / 32768;
}

/* The first moment after t at which a flag becomes 1; INT64_MAX = never. */
static int64_t next_moment(const struct rtc *r, uint8_t flag, int64_t t)
{
	int64_t period, s;

	switch (flag) {
	case C_PF:
		period = period_ns(r);
		return period ? (t / period + 1) * period : INT64_MAX;
	case C_AF:
		s = rtc_time_next_alarm(r->cmos, seconds(t), format(r));
		return s < 0 ? INT64_MAX : s * NS;
	default:
		return (seconds(t) + 1) * NS;
	}
}

static void look(struct rtc *r)
{
	static const uint8_t flags[] = {C_PF, C_AF, C_UF};
	int64_t now = guest_ns(r);
	bool line;

	if (!stands(r) && now > r->looked) {
		for (unsigned int i = 0; i < sizeof(flags); i++) {
			if (!(r->cmos[REG_C] & flags[i]) &&
			    next_moment(r, flags[i], r->looked) <= now)
				r->cmos[REG_C] |= flags[i];
		}
	}
	r->looked = now; /* the host's clock may have been set back */
	line = r->cmos[REG_C] & r->cmos[REG_B] & C_FLAGS;
	if (line)
		r->cmos[REG_C] |= C_IRQF;
	if (line == r->line)
		return;
	r->line = line;
	vm_irq_set(r->dev.platform->vm, PC_IRQ_RTC, line);
}

/* Control thread: the timer stands at the next moment that will interrupt. */
static void arm(void *opaque)
{
	static const uint8_t flags[] = {C_PF, C_AF, C_UF};
	struct rtc *r = opaque;
	struct loop *loop = r->dev.platform->control;
	int64_t next = INT64_MAX, moment, wait = 0;

	pthread_mutex_lock(&r->dev.lock);
	look(r);
	for (unsigned int i = 0; i < sizeof(flags) && !stands(r) && !r->line; i++) {
		if (r->cmos[REG_B] & flags[i]) {
			moment = next_moment(r, flags[i], r->looked);
			next = moment < next ? moment : next;
		}
	}
	if (next != INT64_MAX)
		wait = next - r->looked;
	pthread_mutex_unlock(&r->dev.lock);
	if (wait > 0)
		loop_timer_set(loop, &r->timer, loop_now_ns() + (uint64_t)wait);
	else
		loop_timer_cancel(loop, &r->timer);
}

static void timer_expired(struct loop_timer *t)
{
	arm(t->opaque);
}

/* Enables, rate, alarm or clock changed, or C was read: the timer may be wrong now. */
static void changed(struct rtc *r)
{
	if (r->cmos[REG_B] & C_FLAGS)
		defer_kick(r->arm);
}

/* ---- registers ---- */

static uint8_t read_a(const struct rtc *r)
{
	int64_t now = guest_ns(r);
	bool uip = !stands(r) && now - seconds(now) * NS >= NS - UIP_NS;

	return (uint8_t)(r->cmos[REG_A] | (uip ? A_UIP : 0));
}

static uint8_t read_c(struct rtc *r)
{
	uint8_t value;

	look(r);
	value = r->cmos[REG_C];
	r->cmos[REG_C] = 0;
	look(r);
	changed(r);
	return value;
}

static uint8_t cmos_read(struct rtc *r)
{
	switch (r->index) {
	case REG_A:
		return read_a(r);
	case REG_C:
		return read_c(r);
	case REG_D:
		return D_VRT;
	default:
		if (rtc_time_is_register(r->index) && !stands(r))
			load(r);
		return r->cmos[r->index];
	}
}

/* A or B is written: what the clock shows is kept across a change of format, and it may stop or
 * start. */
static void write_control(struct rtc *r, unsigned int reg, uint8_t value)
{
	bool stood = stands(r), held = (r->cmos[REG_A] & A_DV_RESET) == A_DV_RESET;

	look(r);
	if (!stood)
		load(r);
	r->cmos[reg] = value;
	if (stood && !stands(r))
		store(r, held ? NS / 2 : 0);
	look(r);
	changed(r);
}

static void write_time(struct rtc *r, uint8_t value)
{
	int64_t now = guest_ns(r);

	if (!stands(r))
		load(r);
	r->cmos[r->index] = value;
	if (!stands(r))
		store(r, now - seconds(now) * NS);
	changed(r);
}

static void cmos_write(struct rtc *r, uint8_t value)
{
	switch (r->index) {
	case REG_A:
		write_control(r, REG_A, value & (uint8_t)~A_UIP);
		break;
	case REG_B:
		write_control(r, REG_B, value);
		break;
	case REG_C:
	case REG_D:
		break;
	default:
		if (rtc_time_is_register(r->index)) {
			write_time(r, value);
		} else {
			look(r); /* with the old alarm */
			r->cmos[r->index] = value;
			changed(r);
		}
		break;
	}
}

static uint64_t rtc_read(void *opaque, uint64_t offset, unsigned int size)
{
	return offset ? cmos_read(opaque) : 0xff; /* the index is write-only */
}

static void rtc_write(void *opaque, uint64_t offset, unsigned int size, uint64_t value)
{
	struct rtc *r = opaque;

	if (offset)
		cmos_write(r, (uint8_t)value);
	else
		r->index = value & (CMOS_SIZE - 1); /* bit 7 masks NMIs, which nobody sends */
}

static const struct region_ops rtc_ops = {
	.read = rtc_read,
	.write = rtc_write,
	.min = 1,
	.max = 1,
};

/* ---- model ---- */

static struct rtc *rtc_of(struct device *dev)
{
	return (struct rtc *)dev;
}

static void put16(struct rtc *r, unsigned int at, uint64_t value)
{
	if (value > 0xffff)
		value = 0xffff;
	r->cmos[at] = (uint8_t)value;
	r->cmos[at + 1] = (uint8_t)(value >> 8);
}

/* Where firmware and old software find the size of RAM. */
static void store_memory_size(struct rtc *r)
{
	uint64_t kib = r->opt_below >> 10, above_1m = kib > 1024 ? kib - 1024 : 0;
	uint64_t above_16m = kib > 16384 ? kib - 16384 : 0, above_4g = r->opt_above >> 16;

	r->cmos[0x14] = 0x02; /* equipment: a coprocessor, no display, no drives */
	put16(r, 0x15, 640);
	put16(r, 0x17, above_1m > 63 * 1024 ? 63 * 1024 : above_1m);
	put16(r, 0x30, above_1m > 63 * 1024 ? 63 * 1024 : above_1m);
	put16(r, 0x34, above_16m >> 6);
	put16(r, 0x5b, above_4g);
	r->cmos[0x5d] = above_4g > 0xffff ? (uint8_t)(above_4g >> 16) : 0;
	if (above_4g > 0xffff) { /* 24 bits */
		r->cmos[0x5b] = (uint8_t)above_4g;
		r->cmos[0x5c] = (uint8_t)(above_4g >> 8);
	}
}

static int start_clock(struct rtc *r, struct err *err)
{
	time_t now = time(NULL);
	struct tm local;
	uint64_t date;

	if (!strcmp(r->opt_base, "utc")) {
		r->offset = 0;
	} else if (!strcmp(r->opt_base, "localtime")) {
		if (!localtime_r(&now, &local))
			return err_set(err, -ERANGE, "%s: no local time", r->dev.id);
		r->offset = local.tm_gmtoff * NS;
	} else if (!opt_parse_u64(r->opt_base, &date) && date < UINT32_MAX) {
		r->offset = (int64_t)date * NS - host_ns();
	} else {
		return err_set(err, -EINVAL, "%s: base=%s (utc, localtime, or seconds since 1970)",
			       r->dev.id, r->opt_base);
	}
	r->looked = guest_ns(r);
	return 0;
}

static int rtc_realize(struct device *dev, struct err *err)
{
	struct rtc *r = rtc_of(dev);
	int rc = start_clock(r, err);

	if (rc)
		return rc;
	r->cmos[REG_A] = 0x26; /* 32.768 kHz; 1024 Hz */
	r->cmos[REG_B] = B_24H;
	store_memory_size(r);
	load(r);
	r->timer = (struct loop_timer){.expired = timer_expired, .opaque = r};
	r->arm = defer_create(dev->platform->control, arm, r);
	if (!r->arm)
		return err_set(err, -ENOMEM, "%s: no memory", dev->id);
	bus_region_init(&r->region, "mc146818", BUS_PIO, 2, &rtc_ops, r, &dev->lock);
	rc = bus_map(dev->platform->bus, &r->region, PC_PORT_CMOS);
	if (rc) {
		defer_destroy(r->arm);
		return err_set(err, rc, "%s: no memory", dev->id);
	}
	return 0;
}

static void rtc_unrealize(struct device *dev)
{
	struct rtc *r = rtc_of(dev);

	bus_unmap(&r->region);
	bus_synchronize(dev->platform->bus);
	loop_timer_cancel(dev->platform->control, &r->timer);
	defer_destroy(r->arm);
}

/* The RESET pin: the clock and the memory go on, interrupts are off (data sheet, "RESET"). */
static void rtc_reset(struct device *dev)
{
	struct rtc *r = rtc_of(dev);

	r->cmos[REG_B] &= (uint8_t)~C_FLAGS;
	r->cmos[REG_C] = 0;
	r->index = 0;
	look(r);
}

static const struct opt_desc rtc_opts[] = {
	{.name = "base",
	 .type = OPT_STRING,
	 .offset = offsetof(struct rtc, opt_base),
	 .def = "utc",
	 .help = "what the clock shows at start: utc, localtime, or seconds since 1970"},
	{.name = "ram-below-4g",
	 .type = OPT_SIZE,
	 .offset = offsetof(struct rtc, opt_below),
	 .help = "RAM below 4 GiB, told in the CMOS memory; bytes"},
	{.name = "ram-above-4g",
	 .type = OPT_SIZE,
	 .offset = offsetof(struct rtc, opt_above),
	 .help = "RAM from 4 GiB on; bytes"},
	{.type = OPT_END},
};

static const struct device_model rtc_model = {
	.name = "mc146818rtc",
	.help = "real-time clock and CMOS memory",
	.size = sizeof(struct rtc),
	.opts = {{rtc_opts, 0}},
	.internal = true,
	.realize = rtc_realize,
	.reset = rtc_reset,
	.unrealize = rtc_unrealize,
};

DEVICE_MODEL(rtc_model);
