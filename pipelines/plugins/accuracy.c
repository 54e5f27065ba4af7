/* A metric for secateur in plain C: the fraction of samples whose largest output is the label's.
 *
 * Build it:        cc -O2 -o accuracy accuracy.c
 * In a pipeline:   metric: {command: {argv: [./accuracy], files: [accuracy.c]}}
 * Try it alone:    secateur plugin test ./accuracy
 *
 * The protocol (docs/plugin-protocol.md): on one descriptor come questions, each a line of JSON with "bytes" bytes of
 * safetensors behind it; on another go answers, one line of JSON each. secateur writes JSON without spaces, so strstr is
 * reader enough.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The number behind a key, or -1. */
static long long number(const char *json, const char *key) {
    const char *found = json ? strstr(json, key) : NULL;
    return found ? atoll(found + strlen(key)) : -1;
}

/* Whether a question asks for this. */
static int asks(const char *line, const char *ask) {
    char wanted[64];
    snprintf(wanted, sizeof wanted, "\"ask\":\"%s\"", ask);
    return strstr(line, wanted) != NULL;
}

/* The numbers of one tensor: where the header says. */
static const char *tensor(const char *header, const char *data, const char *name, const char *type) {
    char wanted[64];
    snprintf(wanted, sizeof wanted, "\"%s\":{\"dtype\":\"%s\"", name, type);
    const char *entry = strstr(header, wanted);
    return entry ? data + number(entry, "\"data_offsets\":[") : NULL;
}

static void values(FILE *answers, long long id, long long samples, const char *payload) {
    uint64_t length;
    memcpy(&length, payload, 8);
    char *header = calloc(1, length + 1);
    if (!header) exit(1);
    memcpy(header, payload + 8, length);
    const char *data = payload + 8 + length;
    const char *outputs = tensor(header, data, "outputs", "F32");
    const char *targets = tensor(header, data, "targets", "I64");
    const char *shape = outputs ? strstr(strstr(header, "\"outputs\""), "\"shape\":[") : NULL;
    const char *second = shape ? strchr(shape, ',') : NULL;
    if (!second || !targets) {
        fprintf(answers, "{\"id\":%lld,\"error\":\"it needs float32 outputs [n, classes] and int64 targets\"}\n", id);
        free(header);
        return;
    }
    long long classes = atoll(second + 1);
    fprintf(answers, "{\"id\":%lld,\"values\":[", id);
    for (long long sample = 0; sample < samples; sample++) {
        long long best = 0, target;
        float largest = 0, one;
        for (long long class = 0; class < classes; class++) {
            memcpy(&one, outputs + 4 * (sample * classes + class), 4);
            if (class == 0 || one > largest) { best = class; largest = one; }
        }
        memcpy(&target, targets + 8 * sample, 8);
        fprintf(answers, "%s%d", sample ? "," : "", best == target);
    }
    fprintf(answers, "]}\n");
    free(header);
}

int main(void) {
    const char *in = getenv("SECATEUR_QUESTIONS"), *out = getenv("SECATEUR_ANSWERS");
    if (!in || !out) {
        fprintf(stderr, "this is a plug-in of secateur: try it with `secateur plugin test ./accuracy`\n");
        return 2;
    }
    FILE *questions = fdopen(atoi(in), "rb"), *answers = fdopen(atoi(out), "wb");
    char *line = NULL;
    size_t room = 0;
    while (questions && answers && getline(&line, &room, questions) > 0) {
        long long id = number(line, "\"id\":"), bytes = number(line, "\"bytes\":");
        char *payload = malloc(bytes > 0 ? bytes : 1);
        if (!payload || (bytes > 0 && fread(payload, 1, bytes, questions) != (size_t)bytes)) return 1;
        if (asks(line, "bye")) return 0;
        if (asks(line, "hello"))
            fprintf(answers, "{\"id\":%lld,\"protocol\":1,\"kind\":\"metric\",\"form\":\"per_sample\",\"name\":\"accuracy\","
                             "\"direction\":\"maximize\",\"tensors\":[\"outputs\",\"targets\"],\"bounds\":[0,1]}\n", id);
        else if (asks(line, "values") && bytes > 0)
            values(answers, id, number(line, "\"samples\":"), payload);
        else
            fprintf(answers, "{\"id\":%lld,\"error\":\"not a question for this plug-in\"}\n", id);
        fflush(answers);
        free(payload);
    }
    return 0;
}
