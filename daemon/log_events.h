/* Every kind of event that has a line of its own in the log: its name, its priority and the MESSAGE_ID by which the
 * journal and its catalog (systemd/buddyd.catalog) know it. An id is never changed and never used again; a new one is
 * what `systemd-id128 new` prints. */
#pragma once

#define LOG_EVENTS(X)                                                                              \
        X(FAILURE, LOG_ERR, "e0e50197f33e4c08873ff454242ac30b")                                    \
        X(POOL_REFUSED, LOG_ERR, "56020b567ff54ebb845fc5edcbeb9a4d")                               \
        X(POOL_MADE, LOG_NOTICE, "14edeb2212ac4d948a677642c1132e93")                               \
        X(POOL_TAKEN_OVER, LOG_NOTICE, "2f5575620b8c404691ff80482d3c0180")                         \
        X(POOL_RESERVING, LOG_INFO, "5710002aeb0d446e8fea03c0be560dbc")                            \
        X(POOL_NOT_KEPT, LOG_WARNING, "95265b6358fd4a5a87f7a104096debed")                          \
        X(READY, LOG_INFO, "2bd9279b3e944676b59de6934ecc847d")                                     \
        X(STOPPED_EARLY, LOG_NOTICE, "f591d1c783f3493a8d699236be5b5024")                           \
        X(CLIENT_ENDED, LOG_INFO, "eb66f716598e438ea8040a650c465471")                              \
        X(CLIENT_RESUMED, LOG_INFO, "ae1ff566c89644eb97d9c390724e361d")                            \
        X(CLIENT_UNWATCHED, LOG_WARNING, "0b08d9a29f534664b8bf9051523e70cc")                       \
        X(CLIENT_KICKED, LOG_NOTICE, "5992d6f3f8a842898565f31ba69434b7")                           \
        X(POOL_DRAINED, LOG_NOTICE, "aed353499d1c4181992166dd7e0715b2")                            \
        X(POOL_GROWN, LOG_NOTICE, "b2ed967566684fc680d5f63caf6cb1cb")                              \
        X(LIMIT_CHANGED, LOG_NOTICE, "aa1a7480744f41a1a169d71aabdfbda1")                           \
        X(CONFIG_READ, LOG_NOTICE, "61bbcdf92d894f0795c16bbfeb7144a9")                             \
        X(CONFIG_PENDING, LOG_WARNING, "725a69947ddd429d937a183e2fc9e444")                         \
        X(CONFIG_CHANGED, LOG_NOTICE, "c365d568bb1948ebacc2df5f616698c2")                          \
        X(MEMORY_GIVEN_BACK, LOG_INFO, "2a4f7bd5a9ac454dadea11c37fc710ca")                         \
        X(MEMORY_NOT_GIVEN_BACK, LOG_WARNING, "5319edd291f44f75891c9616c1abbdea")                  \
        X(CONNECTION_CLOSED, LOG_WARNING, "ab9c898f0cde421c8dc3bfb493b888b0")                      \
        X(CONNECTION_REFUSED, LOG_WARNING, "ab6394360661430abdd18b1a3fd3651c")                     \
        X(REFUSED, LOG_WARNING, "5421bc8498014abda019f72e31c4dcbd")                                \
        X(CONNECTIONS_PAUSED, LOG_WARNING, "4b57e83e3f964488b70a9d11f14833ff")                     \
        X(WARNINGS_LEFT_OUT, LOG_WARNING, "d7d997859ed14f9db622f1c59d5d19c9")                      \
        X(SEGMENT_CHANGED, LOG_WARNING, "cc6c02ce500a467683cdf456f5faf46b")                        \
        X(LIMIT_NOT_RAISED, LOG_WARNING, "d20e076b343246ee88817bb1b5d09b08")
