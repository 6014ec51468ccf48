/* The order in which the daemon's socket is looked for. */
#include "client/socket_path.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char *found(struct socket_surroundings surroundings) {
        static struct sockaddr_un address;
        int rc = socket_path_find(&surroundings, &address);
        return rc < 0 ? strerror(-rc) : address.sun_path;
}

Test(socket_path, asked_goes_before_all) {
        cr_assert_str_eq(
                found((struct socket_surroundings){
                        .asked = "/a", .environment = "/e", .runtime_dir = "/r", .root = true}),
                "/a");
}

Test(socket_path, environment_goes_before_defaults) {
        cr_assert_str_eq(found((struct socket_surroundings){
                                 .environment = "/e", .runtime_dir = "/r", .root = true}),
                "/e");
}

Test(socket_path, root_goes_to_the_system) {
        cr_assert_str_eq(found((struct socket_surroundings){.runtime_dir = "/r", .root = true}),
                "/run/buddyd/buddyd.sock");
}

Test(socket_path, users_go_to_their_runtime_folder) {
        cr_assert_str_eq(
                found((struct socket_surroundings){.runtime_dir = "/r"}), "/r/buddyd/buddyd.sock");
}

Test(socket_path, empty_is_unset) {
        cr_assert_str_eq(found((struct socket_surroundings){
                                 .asked = "", .environment = "", .runtime_dir = "/r"}),
                "/r/buddyd/buddyd.sock");
}

Test(socket_path, user_without_runtime_folder_has_none) {
        cr_assert_str_eq(found((struct socket_surroundings){.runtime_dir = ""}), strerror(ENOENT));
}

Test(socket_path, refuses_what_no_address_holds) {
        char path[200];
        memset(path, 'x', sizeof(path));
        path[0] = '/';
        path[108] = '\0';
        cr_assert_str_eq(found((struct socket_surroundings){.asked = path}), strerror(EINVAL));
        path[107] = '\0';
        cr_assert_str_eq(found((struct socket_surroundings){.asked = path}), path);
        path[107] = 'x';
        path[100] = '\0';
        cr_assert_str_eq(
                found((struct socket_surroundings){.runtime_dir = path}), strerror(EINVAL));
}

Test(socket_path, reads_this_process_surroundings) {
        setenv("BUDDYD_SOCKET", "/from/environment", 1);
        struct socket_surroundings here = socket_surroundings_here("/asked");
        cr_assert_str_eq(here.asked, "/asked");
        cr_assert_str_eq(here.environment, "/from/environment");
}
