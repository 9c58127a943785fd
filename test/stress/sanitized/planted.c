/* Faults that the sanitizers must report, so that a run without a report means something. */
#include <stdlib.h>
#include <string.h>

static void *volatile kept;

int main(int argc, char **argv) {
  const char *fault = argc > 1 ? argv[1] : "";
  if (strcmp(fault, "leak") == 0) {
    kept = malloc(24);
    kept = NULL;
  } else if (strcmp(fault, "overflow") == 0) {
    char *bytes = malloc(8);
    bytes[argc + 6] = 'x';
    kept = bytes;
  } else if (strcmp(fault, "undefined") == 0) {
    return 1 << (argc + 40);
  }
  return 0;
}
