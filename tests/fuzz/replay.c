/* Runs a fuzz target over folders of files, for builds without libFuzzer. */
#include <dirent.h>
#include <stdio.h>
#include <string.h>

#include "fuzz.h"

static size_t files;

static int replay_file(const char *path) {
        FILE *file = fopen(path, "rb");
        if (!file) {
                perror(path);
                return -1;
        }
        static uint8_t bytes[2u << 20];
        size_t length = fread(bytes, 1, sizeof(bytes), file);
        fclose(file);
        uint8_t *exact = malloc(length ? length : 1); /* a sanitizer sees where it ends */
        if (!exact)
                return -1;
        memcpy(exact, bytes, length);
        LLVMFuzzerTestOneInput(exact, length);
        free(exact);
        files++;
        return 0;
}

static int replay_folder(const char *path) {
        DIR *folder = opendir(path);
        if (!folder) {
                perror(path);
                return -1;
        }
        int error = 0;
        for (struct dirent *entry; error == 0 && (entry = readdir(folder));) {
                char file[4096];
                if (entry->d_name[0] == '.')
                        continue;
                int length = snprintf(file, sizeof(file), "%s/%s", path, entry->d_name);
                error = length < (int)sizeof(file) ? replay_file(file) : -1;
        }
        closedir(folder);
        return error;
}

int main(int argc, char **argv) {
        for (int i = 1; i < argc; i++)
                if (replay_folder(argv[i]) < 0)
                        return 1;
        printf("%zu files\n", files);
        return files > 0 ? 0 : 1;
}
