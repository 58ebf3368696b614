"""Query templates of one block: chains, stars, snowflakes and cycles of inner joins."""

from __future__ import annotations

from typing import Final

JOIN_TEMPLATES: Final[dict[str, str]] = {
    # -- chains -------------------------------------------------------------------------------------
    "questions_in_tag": """
SELECT count(*) AS questions, max(q.views) AS most_views
FROM question q JOIN question_tag qt ON qt.question_id = q.id JOIN tag t ON t.id = qt.tag_id
JOIN member m ON m.id = q.author_id
WHERE t.name = {tag} AND m.level = {level}
""",
    "answers_in_tag": """
SELECT count(*) AS answers, sum(a.length) AS letters
FROM tag t JOIN question_tag qt ON qt.tag_id = t.id JOIN question q ON q.id = qt.question_id
JOIN answer a ON a.question_id = q.id
WHERE t.name = {tag} AND q.status = {status} AND a.score > {score}
""",
    "votes_in_tag": """
SELECT v.kind, count(*) AS votes
FROM tag t, question_tag qt, answer a, vote v, member m
WHERE t.id = qt.tag_id AND qt.question_id = a.question_id AND v.answer_id = a.id AND m.id = v.voter_id
  AND t.name = {tag} AND m.level = {level}
GROUP BY v.kind ORDER BY v.kind
""",
    "votes_by_region": """
SELECT r.name, count(*) AS votes
FROM vote v JOIN answer a ON a.id = v.answer_id JOIN question q ON q.id = a.question_id
JOIN member m ON m.id = q.author_id JOIN region r ON r.id = m.region_id
WHERE v.kind = {kind} AND r.continent = {continent} AND q.asked >= {late}
GROUP BY r.name ORDER BY votes DESC, r.name LIMIT 10
""",
    "comment_chain": """
SELECT count(*) AS comments, min(c.posted) AS first_day
FROM comment c JOIN question q ON q.id = c.question_id JOIN question_tag qt ON qt.question_id = q.id
JOIN tag t ON t.id = qt.tag_id
WHERE c.mood = {mood} AND t.area = {area} AND q.views > {views}
""",
    "friends_of_friends": """
SELECT count(*) AS pairs, max(c.reputation) AS best
FROM member a JOIN follow f ON f.follower_id = a.id JOIN follow g ON g.follower_id = f.followed_id
JOIN member c ON c.id = g.followed_id
WHERE a.name = {member} AND c.level = {level}
""",
    "long_chain": """
SELECT count(*) AS awards, count(DISTINCT b.id) AS badges
FROM region r JOIN member m ON m.region_id = r.id JOIN question q ON q.author_id = m.id
JOIN answer a ON a.question_id = q.id JOIN member n ON n.id = a.author_id
JOIN award w ON w.member_id = n.id JOIN badge b ON b.id = w.badge_id
WHERE r.name = {region} AND b.tier = {tier} AND q.asked > {day}
""",
    "bounty_chain": """
SELECT count(*) AS votes, sum(b.amount) AS money
FROM bounty b JOIN question q ON q.id = b.question_id JOIN answer a ON a.question_id = q.id
JOIN vote v ON v.answer_id = a.id
WHERE b.amount >= {amount} AND a.accepted AND v.kind = {kind}
""",
    "recent_votes_on_old_questions": """
SELECT count(*) AS votes, count(DISTINCT v.voter_id) AS voters
FROM vote v JOIN answer a ON a.id = v.answer_id JOIN question q ON q.id = a.question_id
JOIN member m ON m.id = v.voter_id
WHERE v.cast_on >= {day} AND q.asked < {early} AND m.language = {language}
""",
    "follow_up": """
SELECT m.level, count(*) AS follows, max(q.score) AS best
FROM follow f, member m, question q, question_tag qt, tag t
WHERE f.follower_id = m.id AND q.author_id = f.followed_id AND qt.question_id = q.id AND t.id = qt.tag_id
  AND t.name = {tag} AND f.since >= {day} AND q.views > {views}
GROUP BY m.level ORDER BY m.level
""",
    # -- stars --------------------------------------------------------------------------------------
    "question_star": """
SELECT count(*) AS found, max(a.score) AS best
FROM question q JOIN answer a ON a.question_id = q.id JOIN comment c ON c.question_id = q.id
JOIN bounty b ON b.question_id = q.id JOIN member m ON m.id = q.author_id
WHERE c.mood = {mood} AND b.amount >= {amount} AND m.level = {level}
""",
    "member_star": """
SELECT count(*) AS combinations, min(m.joined) AS earliest
FROM member m JOIN award w ON w.member_id = m.id JOIN badge b ON b.id = w.badge_id
JOIN membership ms ON ms.member_id = m.id JOIN club c ON c.id = ms.club_id
WHERE b.tier = {tier} AND c.area = {area} AND m.reputation > {reputation}
""",
    "member_star_wide": """
SELECT count(*) AS combinations
FROM member m JOIN membership ms ON ms.member_id = m.id JOIN club c ON c.id = ms.club_id
JOIN interest i ON i.member_id = m.id JOIN tag t ON t.id = i.tag_id
JOIN award w ON w.member_id = m.id JOIN badge b ON b.id = w.badge_id
WHERE c.area = {area} AND t.name = {tag} AND b.tier = {tier} AND ms.role = {role}
""",
    "activity_star": """
SELECT m.level, count(*) AS combinations
FROM member m, question q, comment c, bounty b
WHERE q.author_id = m.id AND c.author_id = m.id AND b.sponsor_id = m.id
  AND q.status = {status} AND c.mood = {mood} AND b.amount >= {amount} AND q.asked >= {day}
GROUP BY m.level ORDER BY m.level
""",
    "tag_star": """
SELECT t.name, count(*) AS pairs
FROM tag t JOIN interest i ON i.tag_id = t.id JOIN question_tag qt ON qt.tag_id = t.id
JOIN question q ON q.id = qt.question_id
WHERE t.area = {area} AND i.strength > {strength} AND q.status = {status} AND q.asked > {day}
GROUP BY t.name ORDER BY pairs DESC, t.name LIMIT 5
""",
    "five_dimensions": """
SELECT count(*) AS answers, avg(a.score) AS mean_score
FROM answer a JOIN question q ON q.id = a.question_id JOIN member asker ON asker.id = q.author_id
JOIN member helper ON helper.id = a.author_id JOIN region ra ON ra.id = asker.region_id
JOIN region rh ON rh.id = helper.region_id
WHERE ra.country = {country_a} AND rh.country = {country_b} AND a.accepted AND q.views > {views}
""",
    "award_star": """
SELECT b.name, count(*) AS awards
FROM award w JOIN badge b ON b.id = w.badge_id JOIN member m ON m.id = w.member_id
JOIN region r ON r.id = m.region_id
WHERE r.continent = {continent} AND b.tier = {tier} AND w.awarded >= {day} AND m.language = {language}
GROUP BY b.name ORDER BY awards DESC, b.name LIMIT 8
""",
    # -- snowflakes ---------------------------------------------------------------------------------
    "vote_snowflake": """
SELECT count(*) AS votes, max(q.views) AS most_views
FROM vote v JOIN answer a ON a.id = v.answer_id JOIN question q ON q.id = a.question_id
JOIN member voter ON voter.id = v.voter_id JOIN member helper ON helper.id = a.author_id
JOIN member asker ON asker.id = q.author_id JOIN region r ON r.id = asker.region_id
WHERE voter.level = {level} AND helper.level = {senior} AND r.name = {region} AND v.kind = {kind}
""",
    "club_snowflake": """
SELECT c.name, count(*) AS questions
FROM club c JOIN membership ms ON ms.club_id = c.id JOIN member m ON m.id = ms.member_id
JOIN region r ON r.id = m.region_id JOIN question q ON q.author_id = m.id
JOIN question_tag qt ON qt.question_id = q.id JOIN tag t ON t.id = qt.tag_id
WHERE c.area = {area} AND r.continent = {continent} AND t.name = {tag} AND ms.role = {role}
GROUP BY c.name ORDER BY questions DESC, c.name LIMIT 10
""",
    "deep_snowflake": """
SELECT count(*) AS found, sum(b.amount) AS money
FROM bounty b JOIN question q ON q.id = b.question_id JOIN question_tag qt ON qt.question_id = q.id
JOIN tag t ON t.id = qt.tag_id JOIN answer a ON a.question_id = q.id
JOIN member helper ON helper.id = a.author_id JOIN region r ON r.id = helper.region_id
JOIN member sponsor ON sponsor.id = b.sponsor_id
WHERE t.area = {area} AND r.country = {country} AND sponsor.level = {level} AND a.score > {score}
""",
    "twelve_tables": """
SELECT count(*) AS found, min(a.posted) AS first_day
FROM vote v JOIN answer a ON a.id = v.answer_id JOIN question q ON q.id = a.question_id
JOIN question_tag qt ON qt.question_id = q.id JOIN tag t ON t.id = qt.tag_id
JOIN bounty b ON b.question_id = q.id JOIN member asker ON asker.id = q.author_id
JOIN region ra ON ra.id = asker.region_id JOIN member helper ON helper.id = a.author_id
JOIN region rh ON rh.id = helper.region_id JOIN member voter ON voter.id = v.voter_id
JOIN region rv ON rv.id = voter.region_id
WHERE t.name = {tag} AND ra.continent = {continent_a} AND rh.continent = {continent_b}
  AND rv.continent = {continent_c} AND b.amount >= {amount} AND v.kind = {kind}
""",
    "keys_only": """
SELECT count(*) AS answers, sum(q.views) AS views
FROM answer a JOIN question q ON q.id = a.question_id JOIN member m ON m.id = q.author_id
JOIN region r ON r.id = m.region_id
WHERE a.accepted AND r.continent = {continent}
""",
    "one_question": """
SELECT q.id, q.views, m.name, r.name AS region, count(*) AS answers
FROM question q JOIN member m ON m.id = q.author_id JOIN region r ON r.id = m.region_id
JOIN answer a ON a.question_id = q.id
WHERE m.name = {member}
GROUP BY q.id, q.views, m.name, r.name ORDER BY q.views DESC, q.id, m.name, r.name LIMIT 5
""",
    # -- many to many -------------------------------------------------------------------------------
    "common_interests": """
SELECT count(*) AS members, max(m.reputation) AS best
FROM interest i JOIN tag t ON t.id = i.tag_id JOIN interest j ON j.member_id = i.member_id
JOIN tag u ON u.id = j.tag_id JOIN member m ON m.id = i.member_id
WHERE t.name = {tag} AND u.area = {area} AND m.language = {language}
""",
    "club_companions": """
SELECT count(*) AS pairs
FROM member a JOIN membership x ON x.member_id = a.id JOIN membership y ON y.club_id = x.club_id
JOIN member b ON b.id = y.member_id JOIN club c ON c.id = x.club_id
WHERE a.name = {member} AND b.level = {level} AND y.role = {role} AND c.is_public
""",
    "tags_of_companions": """
SELECT t.area, count(*) AS interests
FROM club c JOIN membership ms ON ms.club_id = c.id JOIN interest i ON i.member_id = ms.member_id
JOIN tag t ON t.id = i.tag_id JOIN member m ON m.id = ms.member_id
WHERE c.name = {club} AND m.reputation > {reputation} AND i.strength >= {strength}
GROUP BY t.area ORDER BY interests DESC, t.area
""",
    "questions_for_followers": """
SELECT count(*) AS deliveries, count(DISTINCT f.follower_id) AS readers
FROM question q JOIN follow f ON f.followed_id = q.author_id JOIN interest i ON i.member_id = f.follower_id
JOIN tag t ON t.id = i.tag_id
WHERE q.asked >= {day} AND t.name = {tag} AND q.status = {status}
""",
    "tag_pairs": """
SELECT u.name, count(*) AS questions
FROM tag t JOIN question_tag x ON x.tag_id = t.id JOIN question_tag y ON y.question_id = x.question_id
JOIN tag u ON u.id = y.tag_id JOIN question q ON q.id = x.question_id
WHERE t.name = {tag} AND u.area = {area} AND q.score > {merit} AND u.id <> t.id
GROUP BY u.name ORDER BY questions DESC, u.name LIMIT 10
""",
    "clubs_and_tags": """
SELECT c.area, count(*) AS pairs
FROM club c JOIN membership ms ON ms.club_id = c.id JOIN interest i ON i.member_id = ms.member_id
JOIN tag t ON t.id = i.tag_id
WHERE t.name IN ({tags}) AND ms.role = {role} AND c.founded < {day}
GROUP BY c.area ORDER BY c.area
""",
    "answer_and_comment": """
SELECT count(*) AS pairs, max(a.length) AS longest
FROM question q JOIN answer a ON a.question_id = q.id JOIN comment c ON c.question_id = q.id
JOIN member m ON m.id = c.author_id JOIN member n ON n.id = a.author_id
WHERE m.level = {level_a} AND n.level = {level_b} AND c.mood = {mood} AND a.length > {length}
""",
    "votes_and_follows": """
SELECT count(*) AS votes
FROM vote v JOIN answer a ON a.id = v.answer_id JOIN follow f ON f.follower_id = v.voter_id
JOIN member m ON m.id = f.followed_id
WHERE m.name = {member} AND v.kind = {kind} AND a.score > {score}
""",
    # -- cycles -------------------------------------------------------------------------------------
    "experts_in_their_tag": """
SELECT count(*) AS answers, count(DISTINCT i.member_id) AS experts
FROM interest i JOIN question_tag qt ON qt.tag_id = i.tag_id
JOIN answer a ON a.question_id = qt.question_id AND a.author_id = i.member_id JOIN tag t ON t.id = i.tag_id
WHERE t.area = {area} AND i.strength >= {strength} AND a.score > {score}
""",
    "mutual_follows": """
SELECT count(*) AS pairs
FROM follow f JOIN follow g ON g.follower_id = f.followed_id AND g.followed_id = f.follower_id
JOIN member a ON a.id = f.follower_id JOIN member b ON b.id = f.followed_id
WHERE a.level = {level_a} AND b.level = {level_b}
""",
    "follow_triangle": """
SELECT count(*) AS triangles
FROM follow f JOIN follow g ON g.follower_id = f.followed_id
JOIN follow h ON h.follower_id = g.followed_id AND h.followed_id = f.follower_id
JOIN member a ON a.id = f.follower_id
WHERE a.level = {level} AND g.since >= {day}
""",
    "helpers_among_friends": """
SELECT count(*) AS answers
FROM follow f JOIN question q ON q.author_id = f.follower_id
JOIN answer a ON a.question_id = q.id AND a.author_id = f.followed_id
JOIN member m ON m.id = a.author_id
WHERE m.level = {level} AND q.asked >= {day} AND a.accepted
""",
    "voters_in_the_club": """
SELECT count(*) AS votes
FROM club c JOIN membership x ON x.club_id = c.id JOIN membership y ON y.club_id = c.id
JOIN vote v ON v.voter_id = x.member_id JOIN answer a ON a.id = v.answer_id AND a.author_id = y.member_id
WHERE c.name = {club} AND v.kind = {kind} AND x.role = {role}
""",
    "same_language_help": """
SELECT q.language, count(*) AS answers
FROM question q JOIN answer a ON a.question_id = q.id
JOIN member m ON m.id = a.author_id AND m.language = q.language
JOIN question_tag qt ON qt.question_id = q.id JOIN tag t ON t.id = qt.tag_id
WHERE t.area = {area} AND m.level = {level} AND q.views > {views}
GROUP BY q.language ORDER BY answers DESC, q.language
""",
    "area_match": """
SELECT t.area, count(*) AS matches
FROM tag t JOIN interest i ON i.tag_id = t.id JOIN membership ms ON ms.member_id = i.member_id
JOIN club c ON c.id = ms.club_id AND c.area = t.area JOIN member m ON m.id = i.member_id
WHERE m.level = {senior} AND i.strength >= {strength} AND ms.role = {role}
GROUP BY t.area ORDER BY t.area
""",
    # -- hubs: several many-to-many links of the same hot keys -----------------------------------------
    "answers_times_comments": """
SELECT t.area, count(*) AS pairs
FROM question q JOIN answer a ON a.question_id = q.id JOIN comment c ON c.question_id = q.id
JOIN question_tag qt ON qt.question_id = q.id JOIN tag t ON t.id = qt.tag_id
WHERE t.area = {area} AND a.score > {score} AND q.asked >= {day}
GROUP BY t.area ORDER BY t.area
""",
    "everything_about_a_question": """
SELECT count(*) AS combinations, max(v.cast_on) AS last_day
FROM question q JOIN answer a ON a.question_id = q.id JOIN vote v ON v.answer_id = a.id
JOIN comment c ON c.question_id = q.id JOIN bounty b ON b.question_id = q.id
WHERE q.language = {language} AND c.mood = {mood} AND v.kind = {kind} AND b.amount >= {amount}
""",
    "followers_in_common": """
SELECT b.level, count(*) AS pairs
FROM member a JOIN follow f ON f.followed_id = a.id JOIN follow g ON g.follower_id = f.follower_id
JOIN member b ON b.id = g.followed_id JOIN region r ON r.id = a.region_id
WHERE r.name = {region} AND a.level = {senior} AND g.since >= {day}
GROUP BY b.level ORDER BY b.level
""",
    "helpers_and_their_audience": """
SELECT count(*) AS deliveries, count(DISTINCT m.id) AS helpers
FROM answer a JOIN member m ON m.id = a.author_id JOIN follow f ON f.followed_id = m.id
JOIN member reader ON reader.id = f.follower_id
WHERE a.posted >= {late} AND reader.language = {language} AND m.level = {level}
""",
    "busy_member": """
SELECT count(*) AS combinations
FROM member m JOIN answer a ON a.author_id = m.id JOIN question q ON q.author_id = m.id
JOIN award w ON w.member_id = m.id JOIN badge b ON b.id = w.badge_id
WHERE m.language = {language} AND b.tier = {tier} AND a.posted >= {late} AND q.status = {status}
""",
    "comments_and_votes_of_a_member": """
SELECT m.level, count(*) AS pairs
FROM member m JOIN comment c ON c.author_id = m.id JOIN vote v ON v.voter_id = m.id
JOIN region r ON r.id = m.region_id
WHERE r.country = {country} AND c.mood = {mood} AND v.kind = {kind}
GROUP BY m.level ORDER BY m.level
""",
    "club_by_club": """
SELECT d.area, count(*) AS pairs
FROM club c JOIN membership x ON x.club_id = c.id JOIN membership y ON y.member_id = x.member_id
JOIN club d ON d.id = y.club_id JOIN member m ON m.id = x.member_id
WHERE c.area = {area} AND m.language = {language} AND y.role = {role}
GROUP BY d.area ORDER BY d.area
""",
    "readers_of_a_tag": """
SELECT count(*) AS readings, count(DISTINCT q.author_id) AS authors
FROM tag t JOIN interest i ON i.tag_id = t.id JOIN member m ON m.id = i.member_id
JOIN question_tag qt ON qt.tag_id = t.id JOIN question q ON q.id = qt.question_id
WHERE t.area = {area} AND m.level = {level} AND q.asked >= {late} AND m.language = q.language
""",
    "tag_to_tag_by_people": """
SELECT u.area, count(*) AS bridges
FROM tag t JOIN question_tag qt ON qt.tag_id = t.id JOIN answer a ON a.question_id = qt.question_id
JOIN interest i ON i.member_id = a.author_id JOIN tag u ON u.id = i.tag_id
WHERE t.name = {tag} AND i.strength >= {strength} AND a.score > {score}
GROUP BY u.area ORDER BY bridges DESC, u.area
""",
    "voters_follow_authors": """
SELECT count(*) AS votes, count(DISTINCT f.follower_id) AS fans
FROM vote v JOIN answer a ON a.id = v.answer_id
JOIN follow f ON f.follower_id = v.voter_id AND f.followed_id = a.author_id
JOIN question q ON q.id = a.question_id JOIN question_tag qt ON qt.question_id = q.id
JOIN tag t ON t.id = qt.tag_id
WHERE t.area = {area} AND v.kind = {kind}
""",
    "club_members_on_a_question": """
SELECT c.name, count(*) AS meetings
FROM club c JOIN membership x ON x.club_id = c.id JOIN membership y ON y.club_id = c.id
JOIN question q ON q.author_id = x.member_id
JOIN answer a ON a.question_id = q.id AND a.author_id = y.member_id
WHERE c.area = {area} AND x.role = {role} AND q.asked >= {day}
GROUP BY c.name ORDER BY meetings DESC, c.name LIMIT 5
""",
    "awards_after_clubs": """
SELECT b.tier, count(*) AS awards
FROM badge b JOIN award w ON w.badge_id = b.id JOIN membership ms ON ms.member_id = w.member_id
JOIN club c ON c.id = ms.club_id JOIN interest i ON i.member_id = w.member_id JOIN tag t ON t.id = i.tag_id
WHERE c.founded < {day} AND t.area = {area} AND w.awarded >= {late} AND i.strength >= {strength}
GROUP BY b.tier ORDER BY b.tier
""",
    "spam_hunters": """
SELECT count(*) AS cases, count(DISTINCT n.id) AS hunters
FROM comment c JOIN member m ON m.id = c.author_id JOIN answer a ON a.question_id = c.question_id
JOIN vote v ON v.answer_id = a.id JOIN member n ON n.id = v.voter_id
WHERE c.mood = 'spam' AND m.level = {level} AND v.kind = {kind} AND n.level = {senior}
""",
}
