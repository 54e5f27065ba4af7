/* Samples for secateur in plain C: gzipped files of MNIST's format, which come one after the other through gzip.
 *
 * Build it:        cc -O2 -o idx idx.c
 * In a pipeline:   dataset: {source: {command: {argv: [./idx, images.idx.gz, labels.idx.gz], files: [idx.c]}}}
 * Try it alone:    secateur plugin test ./idx images.idx.gz labels.idx.gz
 *
 * The protocol (docs/plugin-protocol.md): on one descriptor come questions, each a line of JSON; on another go answers, one
 * line of JSON each, and behind it the samples as safetensors. A pipe from gzip cannot jump, so this is a stream: it gives
 * samples in ascending order, and begins again when it is told to. secateur writes JSON without spaces, so strstr is reader
 * enough.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A file on its way through gzip. */
struct file {
    const char *path;
    FILE *from;
    long samples, each;    /* how many samples, and the bytes of one */
    long next;             /* the sample that comes next */
    long axes, extents[4];
};

static long big_endian(FILE *from) {
    unsigned char bytes[4];
    if (fread(bytes, 1, 4, from) != 4) { fprintf(stderr, "the file ends within its header\n"); exit(1); }
    return (long)bytes[0] << 24 | bytes[1] << 16 | bytes[2] << 8 | bytes[3];
}

/* Reads a file from its start: the header tells type, axes and extents. */
static void begin(struct file *file) {
    char command[4200];
    if (file->from) pclose(file->from);
    if (strchr(file->path, '\'')) { fprintf(stderr, "quotes in names are not supported\n"); exit(1); }
    snprintf(command, sizeof command, "exec gzip -dc < '%s'", file->path);
    file->from = popen(command, "r");
    if (!file->from) { perror("gzip"); exit(1); }
    long magic = big_endian(file->from);
    file->axes = magic & 0xff;
    if (magic >> 8 != 8 || file->axes < 1 || file->axes > 4) {
        fprintf(stderr, "%s holds no bytes in MNIST's format\n", file->path);
        exit(1);
    }
    file->each = 1;
    for (long axis = 0; axis < file->axes; axis++) {
        file->extents[axis] = big_endian(file->from);
        if (axis > 0) file->each *= file->extents[axis];
    }
    file->samples = file->extents[0];
    file->next = 0;
}

/* One sample's bytes; those before it are passed over. */
static int sample(struct file *file, long row, unsigned char *into) {
    for (; file->next <= row; file->next++)
        if (fread(into, 1, file->each, file->from) != (size_t)file->each) return 0;
    return 1;
}

/* The shape of a sample: the extents behind the first. */
static void shape(FILE *out, const struct file *file, long count) {
    fputc('[', out);
    if (count >= 0) fprintf(out, "%ld%s", count, file->axes > 1 ? "," : "");
    for (long axis = 1; axis < file->axes; axis++)
        fprintf(out, "%ld%s", file->extents[axis], axis + 1 < file->axes ? "," : "");
    fputc(']', out);
}

static void hello(FILE *answers, long long id, struct file *images, struct file *labels) {
    fprintf(answers, "{\"id\":%lld,\"protocol\":1,\"kind\":\"dataset\",\"form\":\"stream\",\"name\":\"idx\",", id);
    fprintf(answers, "\"samples\":%ld,\"tensors\":[{\"name\":\"images\",\"dtype\":\"U8\",\"shape\":", images->samples);
    shape(answers, images, -1);
    fprintf(answers, "},{\"name\":\"targets\",\"dtype\":\"U8\",\"shape\":");
    shape(answers, labels, -1);
    fprintf(answers, "}]}\n");
}

/* Answers with the samples whose numbers stand in the list. */
static void samples(FILE *answers, long long id, const char *list, struct file *images, struct file *labels) {
    long count = 1;
    for (const char *at = list; *at && *at != ']'; at++) count += *at == ',';
    unsigned char *pixels = malloc(count * images->each), *classes = malloc(count * labels->each);
    if (!pixels || !classes) exit(1);
    for (long at = 0; at < count; at++, list++) {
        long row = strtol(list, (char **)&list, 10);
        if (!sample(images, row, pixels + at * images->each) || !sample(labels, row, classes + at * labels->each)) {
            fprintf(answers, "{\"id\":%lld,\"error\":\"there is no sample %ld\"}\n", id, row);
            free(pixels), free(classes);
            return;
        }
    }
    char *header;
    size_t length;
    FILE *out = open_memstream(&header, &length);
    long middle = count * images->each, end = middle + count * labels->each;
    fprintf(out, "{\"images\":{\"dtype\":\"U8\",\"shape\":");
    shape(out, images, count);
    fprintf(out, ",\"data_offsets\":[0,%ld]},\"targets\":{\"dtype\":\"U8\",\"shape\":", middle);
    shape(out, labels, count);
    fprintf(out, ",\"data_offsets\":[%ld,%ld]}}", middle, end);
    fclose(out);
    uint64_t size = length;    /* little-endian, as everything in safetensors */
    fprintf(answers, "{\"id\":%lld,\"bytes\":%ld}\n", id, (long)(8 + length) + end);
    fwrite(&size, 8, 1, answers);
    fwrite(header, 1, length, answers);
    fwrite(pixels, 1, count * images->each, answers);
    fwrite(classes, 1, count * labels->each, answers);
    free(header), free(pixels), free(classes);
}

int main(int count, char **words) {
    const char *in = getenv("SECATEUR_QUESTIONS"), *out = getenv("SECATEUR_ANSWERS");
    if (count != 3 || !in || !out) {
        fprintf(stderr, "this is a plug-in of secateur: secateur plugin test ./idx images.idx.gz labels.idx.gz\n");
        return 2;
    }
    struct file images = {.path = words[1]}, labels = {.path = words[2]};
    begin(&images), begin(&labels);
    FILE *questions = fdopen(atoi(in), "rb"), *answers = fdopen(atoi(out), "wb");
    char *line = NULL;
    size_t room = 0;
    while (questions && answers && getline(&line, &room, questions) > 0) {
        const char *found = strstr(line, "\"id\":"), *rows = strstr(line, "\"rows\":[");
        long long id = found ? atoll(found + 5) : -1;
        if (strstr(line, "\"ask\":\"bye\"")) return 0;
        if (strstr(line, "\"ask\":\"hello\""))
            hello(answers, id, &images, &labels);
        else if (strstr(line, "\"ask\":\"rewind\"")) {
            begin(&images), begin(&labels);
            fprintf(answers, "{\"id\":%lld}\n", id);
        } else if (strstr(line, "\"ask\":\"read\"") && rows)
            samples(answers, id, rows + 8, &images, &labels);
        else
            fprintf(answers, "{\"id\":%lld,\"error\":\"not a question for this plug-in\"}\n", id);
        fflush(answers);
    }
    return 0;
}
