//! The guarantees of a store. Each case runs on every backend: SQLite, a MongoDB replica set, a
//! standalone mongod.

mod accounts;
mod changing;
mod deleting;
mod following;
mod moderation;
mod owner;
mod posting;
mod ranges;
mod reading;
mod rooms;
mod sessions;
mod stores;
mod support;

/// Makes every case a test on every backend.
macro_rules! on_every_backend {
    ($($module:ident: $($case:ident),* $(,)?;)*) => {
        on_every_backend!(@backend sqlite, $($module: $($case),*;)*);
        on_every_backend!(@backend replica_set, $($module: $($case),*;)*);
        on_every_backend!(@backend standalone, $($module: $($case),*;)*);
    };
    (@backend $backend:ident, $($module:ident: $($case:ident),*;)*) => {
        mod $backend {
            $($(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    crate::$module::$case(&crate::support::Database::$backend()).await;
                }
            )*)*
        }
    };
}

on_every_backend! {
    accounts:
        an_account_is_registered_and_logged_into,
        a_claimed_name_is_closed_to_guests_in_every_case,
        a_refused_guest_fails_alone,
        of_registrations_at_the_same_time_one_succeeds,
        no_guest_posts_once_the_name_is_claimed,
        no_guest_logs_in_once_the_name_is_claimed,
        another_password_ends_the_other_sessions,
        no_log_in_with_the_old_password_outlives_the_new_one,
        users_are_notified_of_ended_sessions;
    changing:
        an_edited_message_keeps_its_number_and_its_time,
        a_reply_answers_an_earlier_message,
        a_user_reacts_once_with_each_emoji,
        a_reaction_that_goes_and_comes_at_once_is_there,
        a_wrong_reply_lets_in_nobody_who_was_removed,
        a_message_has_at_most_20_different_reactions,
        thousands_of_users_react_to_one_message,
        mentions_are_found_counted_and_read,
        mentions_reach_only_users_who_may_read_them,
        the_commit_decides_who_may_change_a_message,
        the_log_of_changes_lists_each_changed_message_once,
        a_topic_is_set_by_the_owner_and_reaches_followers,
        followers_of_changes_end_with_what_the_store_holds;
    deleting:
        a_deleted_message_leaves_its_number_and_nothing_else,
        counters_are_exact_while_messages_come_and_go;
    following:
        a_follower_gets_history_and_then_what_is_posted,
        followers_of_a_room_share_its_messages,
        a_reader_who_waits_is_answered_by_the_next_post,
        a_post_is_read_at_once,
        followers_end_with_what_the_store_holds,
        a_watcher_sees_presence_typing_and_posts,
        a_read_mark_only_moves_forward,
        a_slow_watcher_of_a_user_is_told_that_updates_are_missing,
        read_marks_outlive_the_store_and_never_move_back,
        followers_who_go_leave_nothing_behind;
    moderation:
        a_private_room_is_there_for_its_members_alone,
        private_and_public_rooms_are_listed_in_one_order,
        whether_a_room_is_private_never_changes,
        of_creations_at_the_same_time_one_makes_the_room,
        nothing_reaches_a_removed_user,
        a_removed_user_does_not_return_by_joining,
        a_guest_who_sends_a_members_nonce_fails_alone,
        no_post_of_a_banned_user_is_stored,
        a_ban_holds_for_a_name_in_any_case_until_it_is_lifted;
    owner:
        the_program_lists_all_rooms_and_accounts,
        a_vouched_account_is_one_without_a_password,
        of_vouches_at_the_same_time_all_succeed,
        a_follower_begins_at_the_read_mark,
        counters_tell_what_was_posted;
    posting:
        a_post_comes_back_as_it_is_stored,
        seq_has_no_hole_and_time_strictly_increases,
        time_increases_when_the_clock_stands_still_or_goes_back,
        concurrent_posts_are_ordered_and_counted,
        a_room_is_created_only_by_a_post_that_may,
        of_many_posts_to_a_new_room_one_creates_it,
        a_nonce_makes_one_message,
        a_nonce_belongs_to_its_sender_and_room,
        the_same_nonce_at_the_same_time_makes_one_message,
        a_nonce_clash_fails_alone,
        the_nonces_of_a_burst_are_found_again,
        a_dropped_post_is_stored_whole_or_not_at_all,
        a_clock_at_the_end_of_time_fails_posts_and_nothing_else,
        a_clock_that_panics_fails_the_posts_of_one_batch,
        posts_go_on_while_others_read_and_log_in_all_the_time;
    reading:
        an_unknown_room_has_no_messages,
        ranges_give_the_right_end,
        limits_are_checked,
        a_room_of_10_000_messages_is_paged_in_both_directions,
        texts_come_back_to_the_letter,
        counters_are_exact_and_zero_for_strangers,
        counters_of_many_users_are_exact_at_every_moment;
    ranges:
        every_range_is_what_a_simple_model_says;
    rooms:
        rooms_are_created_once_and_listed_in_order,
        any_valid_name_is_a_room_and_a_user,
        rooms_that_differ_in_case_are_two,
        a_room_describes_its_state,
        members_join_by_posting_and_leave,
        members_are_listed_by_page,
        posts_go_on_while_users_join_and_leave_all_the_time,
        the_number_of_members_is_exact_while_they_come_and_go,
        a_user_who_posts_after_leaving_is_a_member_again,
        the_rooms_of_a_user_are_listed_by_page,
        a_list_is_as_long_as_was_asked_for;
    sessions:
        a_session_lasts_until_it_is_ended,
        an_idle_session_expires_and_a_used_one_does_not,
        a_token_is_due_for_renewal_however_often_its_session_is_used,
        sessions_are_listed_and_ended_by_their_owner;
    stores:
        everything_is_there_after_reopening,
        a_user_who_left_stays_away_after_reopening,
        a_closed_store_refuses_and_is_free,
        a_close_that_was_given_up_goes_on_and_can_be_repeated,
        options_out_of_their_range_are_refused_by_name,
        two_handles_are_one_store;
}
