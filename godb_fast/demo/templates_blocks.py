"""Query templates of several blocks: outer joins, EXISTS and IN, derived tables, CTEs, set operations."""

from __future__ import annotations

from typing import Final

BLOCK_TEMPLATES: Final[dict[str, str]] = {
    # -- outer joins --------------------------------------------------------------------------------
    "questions_with_bounties": """
SELECT count(*) AS questions, count(b.id) AS bounties, sum(b.amount) AS money
FROM question q JOIN question_tag qt ON qt.question_id = q.id JOIN tag t ON t.id = qt.tag_id
LEFT JOIN bounty b ON b.question_id = q.id
WHERE t.name = {tag} AND q.status = {status}
""",
    "unplaced_members": """
SELECT count(*) AS answers, count(r.id) AS placed
FROM answer a JOIN member m ON m.id = a.author_id LEFT JOIN region r ON r.id = m.region_id
JOIN question q ON q.id = a.question_id
WHERE m.level = {senior} AND q.language = {language} AND a.posted >= {day}
""",
    "spam_or_not": """
SELECT m.level, count(*) AS questions, count(c.id) AS comments
FROM question q JOIN member m ON m.id = q.author_id
LEFT JOIN comment c ON c.question_id = q.id AND c.mood = {mood}
JOIN question_tag qt ON qt.question_id = q.id JOIN tag t ON t.id = qt.tag_id
WHERE t.name = {tag} AND q.views > {views}
GROUP BY m.level ORDER BY m.level
""",
    "clubless_experts": """
SELECT count(*) AS experts
FROM member m JOIN award w ON w.member_id = m.id JOIN badge b ON b.id = w.badge_id
LEFT JOIN membership ms ON ms.member_id = m.id
WHERE b.name = {badge} AND ms.club_id IS NULL AND m.reputation > {reputation}
""",
    # -- semi and anti joins ------------------------------------------------------------------------
    "active_in_tag": """
SELECT m.level, count(*) AS members
FROM member m JOIN region r ON r.id = m.region_id JOIN interest i ON i.member_id = m.id
JOIN tag t ON t.id = i.tag_id
WHERE t.name = {tag} AND r.continent = {continent}
  AND EXISTS (SELECT 1 FROM answer a WHERE a.author_id = m.id AND a.accepted)
GROUP BY m.level ORDER BY m.level
""",
    "unanswered_in_tag": """
SELECT count(*) AS questions, max(q.views) AS most_views
FROM question q JOIN question_tag qt ON qt.question_id = q.id JOIN tag t ON t.id = qt.tag_id
JOIN member m ON m.id = q.author_id
WHERE t.area = {area} AND m.language = {language}
  AND NOT EXISTS (SELECT 1 FROM answer a WHERE a.question_id = q.id)
""",
    "voters_with_badges": """
SELECT v.kind, count(*) AS votes
FROM vote v JOIN answer a ON a.id = v.answer_id JOIN question_tag qt ON qt.question_id = a.question_id
JOIN tag t ON t.id = qt.tag_id
WHERE t.name = {tag}
  AND v.voter_id IN (SELECT w.member_id FROM award w JOIN badge b ON b.id = w.badge_id WHERE b.tier = {tier})
GROUP BY v.kind ORDER BY v.kind
""",
    "commented_bounties": """
SELECT count(*) AS bounties, sum(b.amount) AS money
FROM bounty b JOIN question q ON q.id = b.question_id JOIN member m ON m.id = b.sponsor_id
JOIN answer a ON a.question_id = q.id
WHERE m.level = {level} AND a.accepted
  AND EXISTS (SELECT 1 FROM comment c WHERE c.question_id = q.id AND c.mood = {mood})
""",
    # -- derived tables and common table expressions --------------------------------------------------
    "busy_helpers": """
SELECT r.continent, count(*) AS helpers, max(h.answers) AS most
FROM (SELECT a.author_id, count(*) AS answers FROM answer a JOIN question q ON q.id = a.question_id
      WHERE q.language = {language} AND a.score > {score} GROUP BY a.author_id) h
JOIN member m ON m.id = h.author_id JOIN region r ON r.id = m.region_id
JOIN interest i ON i.member_id = m.id JOIN tag t ON t.id = i.tag_id
WHERE t.name = {tag}
GROUP BY r.continent ORDER BY r.continent
""",
    "popular_questions": """
WITH popular AS (
  SELECT q.id, q.author_id, count(*) AS votes
  FROM question q JOIN answer a ON a.question_id = q.id JOIN vote v ON v.answer_id = a.id
  JOIN question_tag qt ON qt.question_id = q.id JOIN tag t ON t.id = qt.tag_id
  WHERE t.name = {tag} AND v.kind = {kind} GROUP BY q.id, q.author_id)
SELECT p.id, p.votes, m.name
FROM popular p JOIN member m ON m.id = p.author_id
WHERE m.reputation > {reputation}
ORDER BY p.votes DESC, p.id, m.name LIMIT 10
""",
    "club_leaders": """
WITH leaders AS (
  SELECT ms.member_id, c.area FROM membership ms JOIN club c ON c.id = ms.club_id
  WHERE ms.role = {role} AND c.is_public)
SELECT l.area, count(*) AS answers, max(a.score) AS best
FROM leaders l JOIN answer a ON a.author_id = l.member_id JOIN question q ON q.id = a.question_id
JOIN comment c ON c.question_id = q.id
WHERE q.asked >= {late} AND c.mood = {mood}
GROUP BY l.area ORDER BY l.area
""",
    "two_sides": """
SELECT x.area, x.questions, y.members
FROM (SELECT t.area, count(*) AS questions FROM tag t JOIN question_tag qt ON qt.tag_id = t.id
      JOIN question q ON q.id = qt.question_id JOIN member m ON m.id = q.author_id
      WHERE m.level = {level} AND q.asked >= {day} GROUP BY t.area) x
JOIN (SELECT t.area, count(DISTINCT i.member_id) AS members FROM tag t JOIN interest i ON i.tag_id = t.id
      JOIN membership ms ON ms.member_id = i.member_id JOIN club c ON c.id = ms.club_id
      WHERE c.name = {club} GROUP BY t.area) y ON y.area = x.area
ORDER BY x.area, x.questions, y.members
""",
    "above_average": """
SELECT count(*) AS questions, max(q.views) AS most_views
FROM question q JOIN question_tag qt ON qt.question_id = q.id JOIN tag t ON t.id = qt.tag_id
JOIN member m ON m.id = q.author_id
WHERE t.name = {tag} AND m.language = {language}
  AND q.views > (SELECT avg(p.views) FROM question p WHERE p.status = {status})
""",
    # -- set operations -----------------------------------------------------------------------------
    "voices": """
SELECT 'answer' AS what, count(*) AS entries
FROM answer a JOIN question_tag qt ON qt.question_id = a.question_id JOIN tag t ON t.id = qt.tag_id
JOIN member m ON m.id = a.author_id WHERE t.name = {tag} AND m.level = {level}
UNION ALL
SELECT 'comment' AS what, count(*) AS entries
FROM comment c JOIN question_tag qt ON qt.question_id = c.question_id JOIN tag t ON t.id = qt.tag_id
JOIN member m ON m.id = c.author_id WHERE t.name = {tag} AND m.level = {level}
ORDER BY what, entries
""",
    "interested_but_silent": """
SELECT count(*) AS members FROM (
  SELECT i.member_id FROM interest i JOIN tag t ON t.id = i.tag_id JOIN member m ON m.id = i.member_id
  JOIN region r ON r.id = m.region_id WHERE t.name = {tag} AND r.continent = {continent}
  EXCEPT
  SELECT a.author_id FROM answer a JOIN question_tag qt ON qt.question_id = a.question_id
  JOIN tag t ON t.id = qt.tag_id WHERE t.name = {tag}) silent
""",
}
