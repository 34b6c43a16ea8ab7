#ifndef BILLINGD_CCURL_SHIM_H
#define BILLINGD_CCURL_SHIM_H

#include <curl/curl.h>

/* Without CURLOPT_PREREQFUNCTION a POST could not be kept from leaving twice. */
#if LIBCURL_VERSION_NUM < 0x075000
#error "libcurl 7.80 or later is needed"
#endif

/* curl_easy_setopt, curl_easy_getinfo and curl_multi_setopt are variadic, which Swift cannot call:
   one typed wrapper for each kind of argument. */
static inline CURLcode billingd_curl_set_long(CURL *easy, CURLoption option, long value) {
    return curl_easy_setopt(easy, option, value);
}
static inline CURLcode billingd_curl_set_text(CURL *easy, CURLoption option, const char *value) {
    return curl_easy_setopt(easy, option, value);
}
static inline CURLcode billingd_curl_set_list(CURL *easy, CURLoption option,
                                              struct curl_slist *value) {
    return curl_easy_setopt(easy, option, value);
}
/* CURLOPT_PROTOCOLS_STR came with 7.85 and replaced a bit mask; QUICK_EXIT came with 7.87. */
static inline CURLcode billingd_curl_set_protocols(CURL *easy, int with_plain_http) {
#if LIBCURL_VERSION_NUM >= 0x075500
    return curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, with_plain_http ? "http,https" : "https");
#else
    return curl_easy_setopt(easy, CURLOPT_PROTOCOLS,
                            (long)(CURLPROTO_HTTPS | (with_plain_http ? CURLPROTO_HTTP : 0)));
#endif
}
static inline void billingd_curl_set_quick_exit(CURL *easy) {
#if LIBCURL_VERSION_NUM >= 0x075700
    (void)curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
#else
    (void)easy;
#endif
}
typedef size_t (*billingd_curl_data)(char *bytes, size_t size, size_t count, void *context);
static inline CURLcode billingd_curl_set_callback(CURL *easy, CURLoption function,
                                                  billingd_curl_data callback, CURLoption data,
                                                  void *context) {
    CURLcode result = curl_easy_setopt(easy, function, callback);
    return result != CURLE_OK ? result : curl_easy_setopt(easy, data, context);
}
/* Called when a connection is there, before anything of the request leaves; 0: go on, 1: do not. */
static inline CURLcode billingd_curl_set_before_request(CURL *easy, curl_prereq_callback callback,
                                                        void *context) {
    CURLcode result = curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, callback);
    return result != CURLE_OK ? result : curl_easy_setopt(easy, CURLOPT_PREREQDATA, context);
}
/* The body of a POST, copied. */
static inline CURLcode billingd_curl_set_body(CURL *easy, const void *bytes, curl_off_t count) {
    CURLcode result = curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, count);
    if (result != CURLE_OK) return result;
    return curl_easy_setopt(easy, CURLOPT_COPYPOSTFIELDS, bytes ? bytes : "");
}
static inline CURLcode billingd_curl_get_long(CURL *easy, CURLINFO info, long *value) {
    return curl_easy_getinfo(easy, info, value);
}
/* What was stored with CURLOPT_PRIVATE. */
static inline CURLcode billingd_curl_set_private(CURL *easy, void *value) {
    return curl_easy_setopt(easy, CURLOPT_PRIVATE, value);
}
static inline void *billingd_curl_get_private(CURL *easy) {
    void *value = NULL;
    return curl_easy_getinfo(easy, CURLINFO_PRIVATE, &value) == CURLE_OK ? value : NULL;
}
typedef int (*billingd_curl_socket)(CURL *easy, curl_socket_t socket, int what, void *context,
                                    void *assigned);
typedef int (*billingd_curl_timer)(CURLM *multi, long milliseconds, void *context);
static inline CURLMcode billingd_curl_multi_set_callbacks(CURLM *multi,
                                                          billingd_curl_socket socket,
                                                          billingd_curl_timer timer,
                                                          void *context) {
    CURLMcode results[] = {curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, socket),
                           curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, context),
                           curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, timer),
                           curl_multi_setopt(multi, CURLMOPT_TIMERDATA, context)};
    for (int i = 0; i < 4; i++) {
        if (results[i] != CURLM_OK) return results[i];
    }
    return CURLM_OK;
}
/* "Look at your timers": the socket that is none. */
static inline CURLMcode billingd_curl_multi_timeout_action(CURLM *multi) {
    int running = 0;
    return curl_multi_socket_action(multi, CURL_SOCKET_TIMEOUT, 0, &running);
}
static inline CURLMcode billingd_curl_multi_set_long(CURLM *multi, CURLMoption option, long value) {
    return curl_multi_setopt(multi, option, value);
}
/* The result of a finished transfer stands in a union. */
static inline CURLcode billingd_curl_result(const CURLMsg *message) { return message->data.result; }
static const long billingd_curl_http_1_1 = CURL_HTTP_VERSION_1_1;
static const long billingd_curl_tls_1_2 = CURL_SSLVERSION_TLSv1_2;
/* Macros that Swift does not import. */
static inline CURLcode billingd_curl_global_init(void) {
    return curl_global_init(CURL_GLOBAL_DEFAULT);
}

#endif
