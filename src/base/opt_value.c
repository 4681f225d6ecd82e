/*
 * The parsers of single option values: see opt.h. Pure functions; the whole text must be the value.
 */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/opt.h"

/* A number at the start of text; *end is behind it. No sign, no blanks, no octal. */
static int number(const char *text, char **end, uint64_t *value)
{
	bool hex = text[0] == '0' && (text[1] == 'x' || text[1] == 'X');
	unsigned long long v;

	if (!isdigit((unsigned char)text[0]) || (hex && !isxdigit((unsigned char)text[2])))
		return -EINVAL;
	errno = 0;
	v = strtoull(text, end, hex ? 16 : 10);
	*value = v;
	return errno == ERANGE ? -ERANGE : 0;
}

int opt_parse_u64(const char *text, uint64_t *value)
{
	uint64_t v;
	char *end;
	int ret = number(text, &end, &v);

	if (ret == -EINVAL || *end)
		return -EINVAL;
	if (!ret)
		*value = v;
	return ret;
}

int opt_parse_size(const char *text, uint64_t unit, uint64_t *value)
{
	static const char suffixes[] = "BKMGTP";
	uint64_t v;
	char *end;
	int ret = number(text, &end, &v);

	if (ret == -EINVAL)
		return ret;
	if (*end) {
		const char *suffix = strchr(suffixes, toupper((unsigned char)*end));

		if (!suffix || end[1])
			return -EINVAL;
		unit = 1ull << (10 * (suffix - suffixes));
	}
	if (ret || __builtin_mul_overflow(v, unit, &v))
		return -ERANGE;
	*value = v;
	return 0;
}

int opt_parse_bool(const char *text, bool *value)
{
	static const char *const words[] = {"off", "on", "no", "yes", "false", "true"};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (!strcmp(text, words[i])) {
			*value = i % 2;
			return 0;
		}
	}
	return -EINVAL;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

int opt_parse_mac(const char *text, uint8_t mac[6])
{
	uint8_t bytes[6];

	for (int i = 0; i < 6; i++) {
		int digit = hex_digit(*text);

		if (digit < 0)
			return -EINVAL;
		bytes[i] = digit;
		text++;
		digit = hex_digit(*text);
		if (digit >= 0) {
			bytes[i] = bytes[i] * 16 + digit;
			text++;
		}
		if (*text != (i < 5 ? ':' : '\0'))
			return -EINVAL;
		text++;
	}
	memcpy(mac, bytes, sizeof(bytes));
	return 0;
}
