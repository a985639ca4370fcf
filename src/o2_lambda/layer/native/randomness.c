/* In place of AWS-LC's own way to notice that a process has become two: that may have happened any time. A copy of a
 * memory image, as SnapStart restores it many times, shows no trace of it. So AWS-LC draws fresh entropy from the kernel
 * for each random number, and no two processes ever share one. A handshake takes three.
 */
#include <stdint.h>

uint64_t CRYPTO_get_fork_ube_generation(void)
{
    return 0;
}
