/* Names to measure with where the real ones are absent, always the same:
 *   names list N       N distinct names, one a line
 *   names queries N    N distinct names, of which about a quarter is in the list of 1,000,000 or
 *                      below one of its names
 *   names prefixes N   N address prefixes, four in five of IPv6
 * They have the shape of the lists that people have: 18 characters and 2 to 5 labels, three in five
 * of two labels, a fifth below another listed name, few top-level names over many. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LISTED	   1000000
#define CORES	   (26u * 26 * 26 * 26 * 26) /* words of five letters */
#define MULTIPLIER 6364133u		     /* coprime to 26: numbers become words, each another */

static uint64_t mix(uint64_t x) /* the finisher of splitmix64 */
{
	x += 0x9e3779b97f4a7c15;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
	x = (x ^ x >> 27) * 0x94d049bb133111eb;
	return x ^ x >> 31;
}

/* The registered name of a number: no two numbers below CORES have the same. */
static char *put_registered(char *at, uint32_t number)
{
	static const char *const syllables[] = {"", "", "", "ka", "ro", "media", "ads", "mi", "ton",
		"shop", "lu", "serv", "web", "net", "zu", "click"};
	static const char *const tops[] = {"com", "com", "com", "com", "com", "com", "com", "net",
		"net", "org", "ru", "de", "info", "xyz", "top", "co.uk", "fr", "pl", "it", "cn",
		"com.br", "online", "site", "io"};
	uint64_t random = mix(number);
	uint32_t core = (uint32_t)((uint64_t)number * MULTIPLIER % CORES);

	for (int i = 0; i < 5; i++, core /= 26)
		*at++ = (char)('a' + core % 26);
	return at + sprintf(at, "%s%s%s.%s", (random & 1 << 16) && (random & 15) > 2 ? "-" : "",
			    syllables[random & 15], syllables[random >> 4 & 15],
			    tops[(random >> 20) % 24]);
}

static char *put_host(char *at, uint64_t random)
{
	static const char *const hosts[] = {"www", "s", "cdn", "img", "track", "m", "api", "ads"};

	at += sprintf(at, "%s", hosts[random & 7]);
	if (random & 8)
		at += sprintf(at, "%u", (unsigned)(random >> 8 & 1023));
	return at + sprintf(at, "%s", ".");
}

/* The name of a line: a registered one, or hosts before the registered one of any line. */
static void put_line(char *at, uint32_t line)
{
	uint64_t random = mix(line + (1ULL << 32));
	unsigned per_mille = (unsigned)(random % 1000);
	uint32_t owner = line;

	if (per_mille >= 620)
		at += sprintf(at, "h%x.", line); /* of this line alone */
	if (per_mille >= 920)
		at = put_host(at, random >> 10);
	if (per_mille >= 980)
		at = put_host(at, random >> 30);
	if (per_mille >= 620 && per_mille < 960)
		owner = (uint32_t)(mix(random) % LISTED);
	put_registered(at, owner);
}

static void put_query(char *at, uint32_t line)
{
	uint64_t random = mix(line + (2ULL << 32));
	unsigned percent = (unsigned)(random % 100);

	if (percent < 13) { /* listed; 7919 is prime */
		put_line(at, (uint32_t)((uint64_t)line * 7919 % LISTED));
		return;
	}
	at += sprintf(at, "q%x.", line);
	if (percent < 23)
		put_line(at, (uint32_t)((random >> 8) % LISTED));
	else
		put_registered(at, (uint32_t)(LISTED + line));
}

static void put_prefix(char *at, uint32_t line)
{
	uint64_t random = mix(line + (3ULL << 32));
	unsigned len = (unsigned)(random >> 56) % 9;

	if (random % 5 == 0) {
		uint32_t net = (1 + (uint32_t)(random >> 8) % 223) << 24 |
			       ((uint32_t)(random >> 16) & 0xffff00);

		net &= UINT32_MAX << (16 - len);
		sprintf(at, "%u.%u.%u.0/%u", net >> 24, net >> 16 & 255, net >> 8 & 255, 16 + len);
	} else {
		sprintf(at, "2%03x:%x:%x::/%u", (unsigned)(random >> 8 & 0xfff),
			(unsigned)(random >> 20 & 0xffff),
			(unsigned)(random >> 36 & 0xffff) & UINT32_MAX << (8 - len), 40 + len);
	}
}

int main(int argc, char **argv)
{
	uint32_t n = argc == 3 ? (uint32_t)atoi(argv[2]) : 0;
	void (*put)(char *, uint32_t) = NULL;
	char name[256];

	if (argc == 3 && strcmp(argv[1], "list") == 0)
		put = put_line;
	else if (argc == 3 && strcmp(argv[1], "queries") == 0)
		put = put_query;
	else if (argc == 3 && strcmp(argv[1], "prefixes") == 0)
		put = put_prefix;
	if (!put || n == 0 || n > LISTED)
		return 2;
	for (uint32_t i = 0; i < n; i++) {
		put(name, i);
		puts(name);
	}
	return 0;
}
