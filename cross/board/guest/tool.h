/* What the parts of the guest's tool share. */
#include <sys/types.h>

/* The frame that was loaded last. */
extern unsigned char frame[8 << 20];
/* Says what the kernel refused; the exit code for that. */
int complain(const char *what);
/* Bytes of the scene's frame `number`, or -1 where there is none. */
ssize_t load(const char *scene, int number);
int timings(char **argument);
int play(char **argument);
int usb(char **argument);
