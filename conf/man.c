/* tungate.yaml(5) from the option table. */
#include "conf/options.h"

#include <errno.h>
#include <string.h>

static const char head[] =
	".\\\" Made from conf/options.c by conf_write_man(); do not edit.\n"
	".Dd November 21, 2026\n"
	".Dt TUNGATE.YAML 5\n"
	".Os\n"
	".Sh NAME\n"
	".Nm tungate.yaml\n"
	".Nd configuration of the DNS and FakeIP gateway tungate\n"
	".Sh DESCRIPTION\n"
	"The file is YAML in UTF-8, one document of at most 4 MB.\n"
	"Anchors, aliases and tags are not supported.\n"
	"Keys that are not listed here are errors, and so is a key that is there twice.\n"
	".Xr tungate 8\n"
	".Cm check\n"
	"reports every error of a file with its line and column.\n"
	".Pp\n"
	"A time is a number with one of the units\n"
	".Cm ms , s , m , h , d ,\n"
	"or several such as\n"
	".Cm 1d12h ;\n"
	"a bare number is seconds.\n"
	"A number may end in\n"
	".Cm k , m , g\n"
	"for thousands, millions and so on.\n"
	"A boolean is\n"
	".Cm yes , no , true , false , on\n"
	"or\n"
	".Cm off .\n"
	"Where a list is expected, a single value is a list of one.\n"
	"Paths are relative to the folder of the file.\n"
	".Pp\n"
	".Cm ${NAME}\n"
	"in a value stands for the environment variable of that name, which must be set;\n"
	".Cm ${NAME:-text}\n"
	"stands for the text where the variable is not set or empty.\n"
	".Pp\n"
	"A mark is\n"
	".Ar value Ns / Ns Ar mask ;\n"
	"without a mask, the value is its own mask.\n"
	"No mark may use the bits of\n"
	".Cm gateway.mark\n"
	"or the two bits above.\n";

static const char tail[] =
	".Sh FILES\n"
	".Bl -tag -width Ds\n"
	".It Pa /etc/tungate/tungate.yaml\n"
	"The configuration as installed.\n"
	".El\n"
	".Sh EXAMPLES\n"
	"Names of a company get fake addresses, and their traffic a mark for policy routing:\n"
	".Bd -literal -offset indent\n"
	"gateway:\n"
	"  lan: [br-lan]\n"
	"upstreams:\n"
	"  provider: { servers: [\"udp://192.0.2.53\"] }\n"
	"  company:  { servers: [\"udp://10.8.0.1\"], mark: 0x10 }\n"
	"egress:\n"
	"  vpn: { type: direct, mark: 0x10, upstream: company }\n"
	"rules:\n"
	"  - { name: work, domain: [corp.example], answer: fake, egress: vpn }\n"
	"  - { name: rest, answer: real, upstream: provider }\n"
	".Ed\n"
	".Sh SEE ALSO\n"
	".Xr tungate 8\n";

/* troff takes a leading dot or apostrophe for a request, '\' for an escape and '-' for a hyphen. */
static void troff_write(FILE *out, const char *text)
{
	if (*text == '.' || *text == '\'')
		fputs("\\&", out);
	for (; *text; text++) {
		if (*text == '\\')
			fputs("\\e", out);
		else if (*text == '-')
			fputs("\\-", out);
		else
			fputc(*text, out);
	}
}

/* An argument of a macro. */
static void argument_write(FILE *out, const char *text)
{
	fputc('"', out);
	for (; *text; text++) {
		if (*text == '"')
			fputs("\\(dq", out);
		else if (*text == '\\')
			fputs("\\e", out);
		else
			fputc(*text, out);
	}
	fputc('"', out);
}

/* One sentence a line, as mdoc wants it. */
static void sentences_write(FILE *out, const char *text)
{
	while (*text) {
		const char *stop = strstr(text, ". ");
		size_t n = stop ? (size_t)(stop - text) + 1 : strlen(text);
		char line[512];

		if (n >= sizeof line)
			n = sizeof line - 1;
		memcpy(line, text, n);
		line[n] = 0;
		troff_write(out, line);
		fputc('\n', out);
		text += n;
		text += *text == ' ';
	}
}

static void option_write(FILE *out, const struct conf_option *o)
{
	const char *allowed = o->allowed ? o->allowed : o->type ? o->type->allowed : NULL;
	bool words = o->type && o->type->words;

	fputs(".It Cm ", out);
	argument_write(out, o->path);
	if (o->type) {
		fputs(" Ar ", out);
		argument_write(out, o->type->name);
		if (o->shape == CONF_MANY || o->shape == CONF_MAP_OR_MANY ||
			o->shape == CONF_FOLD || o->shape == CONF_ITEMS)
			fputs(" ...", out);
	}
	fputc('\n', out);
	sentences_write(out, o->text);
	if (!allowed && !o->required && !o->fallback)
		return;
	if (allowed) {
		fputs("Allowed:\n", out);
		for (const char *p = allowed; words && *p;) {
			size_t n = strcspn(p, " ");

			fprintf(out, ".Cm %.*s%s\n", (int)n, p, p[n] ? " ," : " .");
			p += n + (p[n] == ' ');
		}
		if (!words) {
			troff_write(out, allowed);
			fputs(".\n", out);
		}
	}
	if (o->fallback) {
		fputs("Default:\n.Cm ", out);
		argument_write(out, o->fallback);
		fputs(" .\n", out);
	}
	if (o->required)
		fputs("Required.\n", out);
}

int conf_write_man(FILE *out)
{
	fputs(head, out);
	fputs(".Sh OPTIONS\n", out);
	for (size_t i = 0; i < conf_options_n; i++) {
		const struct conf_option *o = &conf_options[i];

		if (conf_option_below(o, NULL)) {
			if (i)
				fputs(".El\n", out);
			fprintf(out, ".Ss %s\n", o->path);
			if (!o->type)
				sentences_write(out, o->text);
			fputs(".Bl -tag -width Ds\n", out);
			if (!o->type)
				continue;
		}
		if (o->text)
			option_write(out, o);
	}
	fputs(".El\n", out);
	fputs(tail, out);
	return ferror(out) || fflush(out) ? -EIO : 0;
}
